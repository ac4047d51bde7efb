import random

import pytest

from hub.orchestrator import log_records
from hub.orchestrator.log_records import (
    Columns,
    Cursor,
    Gap,
    end_at,
    end_state,
    follow,
    gaps_from_json,
    lines_of,
    missing_words,
)
from hub.states import LogState
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
    assert cursor.gaps == [Gap(2, 2, CHAINS[2], CHAINS[3]), Gap(4, 4, CHAINS[4], CHAINS[5])]
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
    missing = {number for gap in cursor.gaps for number in range(gap.first, gap.last + 1)}
    assert missing == set(range(cursor.next_record)) - arrived
    assert all((gap.before, gap.after) == (CHAINS[gap.first], CHAINS[gap.last + 1]) for gap in cursor.gaps)
    assert not cursor.differs
    # What is fetched again, in any order, closes every gap and leaves the chain of the whole spool.
    end_at(cursor, len(RECORDS), CHAINS[-1], 5, Columns())
    again = [(gap.first, gap.last + 1 - gap.first) for gap in cursor.gaps]
    dice.shuffle(again)
    for first, count in again:
        shown += take(cursor, first, count)[0]
    assert sorted(shown) == list(range(len(RECORDS)))
    assert cursor.complete
    assert (cursor.next_record, cursor.chain) == (len(RECORDS), CHAINS[-1])


OTHER, OTHER_CHAINS = spool([f"other {number}\n" for number in range(40)])


@pytest.mark.parametrize(
    ("first", "count"),
    [(3, 5), (3, 2), (6, 2), (2, 5)],
    ids=["whole", "its beginning", "its end", "over its beginning"],
)
def test_what_fills_a_gap_and_does_not_join_what_lies_around_it_is_shown_and_called_different(first, count):
    cursor = Cursor()
    take(cursor, 0, 3)
    take(cursor, 8, 2)
    lines = Columns()
    follow(cursor, first, OTHER_CHAINS[first], OTHER[first : first + count], 5, lines)
    assert cursor.differs
    assert any("does not follow on" in text for text in lines.texts)


def test_a_frame_that_goes_on_from_something_else_is_called_different():
    cursor = Cursor()
    take(cursor, 0, 5)
    follow(cursor, 3, OTHER_CHAINS[3], OTHER[3:8], 5, Columns())
    assert cursor.differs


def test_what_is_missing_at_the_end_is_named_and_has_to_end_as_the_outcome_says():
    cursor, lines = Cursor(), Columns()
    take(cursor, 0, 5)
    end_at(cursor, 40, CHAINS[40], 5, lines)
    end_at(cursor, 40, CHAINS[40], 6, lines)
    assert cursor.gaps == [Gap(5, 39, CHAINS[5], CHAINS[40])]
    assert lines.texts == ["LOG_GAP: log incomplete: records 5–39 missing"]
    assert gaps_from_json([gap.to_json() for gap in cursor.gaps]) == cursor.gaps


@pytest.mark.parametrize(
    ("count", "chain", "records", "said", "state"),
    [
        (5, "a", 5, "a", LogState.COMPLETE),
        (5, "a", 5, "b", LogState.DIFFERS),
        (0, "a", 0, "b", LogState.COMPLETE),
        (5, "a", 0, "b", LogState.COMPLETE),
    ],
    ids=["the same", "another", "nothing was printed", "nobody knows the spool"],
)
def test_the_digest_of_a_log_is_held_against_the_outcome(count, chain, records, said, state):
    assert end_state(count, chain, records, said) is state


def test_a_gap_too_many_is_not_made_and_what_lies_behind_it_is_fetched_again(monkeypatch):
    monkeypatch.setattr(log_records, "GAPS_MAX", 2)
    cursor, shown = Cursor(), []
    for first in (1, 3, 5, 7):
        shown += take(cursor, first, 1)[0]
    assert (shown, cursor.next_record, len(cursor.gaps)) == ([1, 3], 4, 2)
    end_at(cursor, 40, CHAINS[40], 5, Columns())
    for gap in list(cursor.gaps):
        shown += take(cursor, gap.first, gap.last + 1 - gap.first)[0]
    assert sorted(shown) == list(range(40))
    assert cursor.complete


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
    assert missing_words([(1, 1), (3, 5)]) == "records 1, 3–5"
    assert missing_words([(n, n) for n in range(0, 24, 2)]).endswith("and 2 more places")
