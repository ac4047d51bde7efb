import random

import pytest

from hub.orchestrator.log_records import Columns, Cursor, follow, lines_of, missing_words
from runner.contract.masking import Patterns
from runner.contract.spool import CHAIN_START, Kind, Stream, encode_record, read_records


def spool(texts, kind=Kind.TEXT):
    """Records, and the chain value before each."""
    chain, data, chains = CHAIN_START, b"", [CHAIN_START.hex()]
    for number, text in enumerate(texts):
        record, chain = encode_record(number, kind, 1000 + number, Stream.STDOUT, text.encode(), chain=chain)
        data += record
        chains.append(chain.hex())
    return read_records(data), chains


RECORDS, CHAINS = spool([f"line {number}\n" for number in range(40)])


def take(cursor, first, count, lines=None):
    lines = lines if lines is not None else Columns()
    fresh = follow(cursor, first, CHAINS[first], RECORDS[first : first + count], 5, lines)
    return [record.number for record in fresh], lines.texts


def test_frames_in_order_leave_no_word_behind():
    cursor = Cursor()
    assert take(cursor, 0, 3) == ([0, 1, 2], [])
    assert take(cursor, 3, 2) == ([3, 4], [])
    assert (cursor.next_record, cursor.chain, cursor.complete) == (5, CHAINS[5], True)


def test_a_frame_that_came_before_brings_nothing():
    cursor = Cursor()
    take(cursor, 0, 5)
    assert take(cursor, 0, 5) == ([], [])
    assert take(cursor, 2, 2) == ([], [])
    assert cursor.next_record == 5


def test_a_frame_that_overlaps_brings_its_new_records():
    cursor = Cursor()
    take(cursor, 0, 5)
    assert take(cursor, 3, 4) == ([5, 6], [])
    assert cursor.next_record == 7


def test_what_is_missing_is_named_and_what_comes_late_finds_its_place():
    cursor = Cursor()
    take(cursor, 0, 2)
    assert take(cursor, 5, 2) == ([5, 6], ["LOG_GAP: log incomplete: records 2–4 missing"])
    assert not cursor.complete
    assert take(cursor, 3, 1) == ([3], ["late: records 3 of the log"])
    assert cursor.gaps == [[2, 2], [4, 4]]
    assert take(cursor, 2, 3)[0] == [2, 4]
    assert cursor.complete


def test_a_first_frame_that_does_not_follow_on_says_so():
    cursor = Cursor(next_record=2, chain="f" * 64)
    assert take(cursor, 2, 1) == ([2], ["LOG_GAP: record 2 does not follow on what the target sent before"])
    assert not cursor.complete


@pytest.mark.parametrize("seed", range(200))
def test_t041_whatever_order_frames_come_in_every_record_is_shown_once_and_gaps_are_true(seed):
    dice = random.Random(seed)
    frames, at = [], 0
    while at < len(RECORDS):
        count = min(dice.randint(1, 6), len(RECORDS) - at)
        frames.append((at, count))
        at += count
    sent = [frame for frame in frames if dice.random() > 0.1]
    sent += [frame for frame in sent if dice.random() < 0.1]
    dice.shuffle(sent)
    cursor, shown = Cursor(), []
    for first, count in sent:
        shown += take(cursor, first, count)[0]
    arrived = {number for first, count in sent for number in range(first, first + count)}
    assert sorted(shown) == sorted(arrived)
    missing = {number for first, last in cursor.gaps for number in range(first, last + 1)}
    assert missing == set(range(cursor.next_record)) - arrived


def test_lines_are_cut_masked_and_kept_with_bytes_that_are_no_text():
    records, _ = spool(["one\ntwo\n", "no end", "the hunter2hunter2 word\n"])
    lines = Columns()
    lines_of(records, Patterns(["hunter2hunter2"]), lines)
    assert lines.texts == ["one", "two", "no end", "the *** word"]
    assert lines.at == [1000, 1000, 1001, 1002]
    assert set(lines.levels) == {"stdout"}


def test_progress_is_told_and_other_events_and_nonsense_are_not():
    records, _ = spool(
        ['{"event":"progress","percent":40,"message":"copying"}', '{"event":"started"}', "[]"], Kind.EVENT
    )
    lines = Columns()
    lines_of(records, None, lines)
    assert lines.texts == ["40 % copying"]


def test_missing_places_are_named_up_to_ten():
    assert missing_words([[1, 1], [3, 5]]) == "records 1, 3–5"
    assert missing_words([[n, n] for n in range(0, 24, 2)]).endswith("and 2 more places")
