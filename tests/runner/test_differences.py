"""Unified diffs: they lead from one text to the other, and no text makes them take long."""

import random
import subprocess

import pytest

from runner.differences import changes, unified


def apply(old, found, new):
    """The new lines, made of the old ones and the changes."""
    out, at = [], 0
    for change in found:
        out += old[at : change.old_start] + new[change.new_start : change.new_stop]
        at = change.old_stop
    return out + old[at:]


def some(count, words, seed):
    return [f"line {random.Random(f'{seed}{n}').randrange(words)}" for n in range(count)]


def changed(lines, seed):
    maker = random.Random(seed)
    out = []
    for line in lines:
        turn = maker.random()
        out += [] if turn < 0.02 else [line, "more"] if turn < 0.04 else [line + "!"] if turn < 0.08 else [line]
    return out


@pytest.mark.parametrize("count", [0, 1, 7, 60, 900])
@pytest.mark.parametrize("words", [1, 3, 50, 10_000])
def test_changes_lead_from_one_text_to_the_other(count, words):
    for seed in range(5):
        old = some(count, words, seed)
        for new in (changed(old, seed), old[::-1], some(count, words, seed + 1), [], old):
            assert apply(old, changes(old, new), new) == new
    assert changes(some(count, words, 0), some(count, words, 0)) == []


def test_a_hunk_reads_as_diff_writes_it(tmp_path):
    old = [f"{n}" for n in range(1, 31)]
    new = [*old[:4], "five", *old[5:9], *old[10:25], "more", *old[25:]]
    (tmp_path / "old").write_text("\n".join(old) + "\n")
    (tmp_path / "new").write_text("\n".join(new) + "\n")
    expected = subprocess.run(["diff", "-u", "old", "new"], cwd=tmp_path, capture_output=True, text=True).stdout
    ours = [line for hunk in unified(old, new, changes(old, new)) for line in hunk]
    assert ours == expected.splitlines()[2:]


def test_every_hunk_has_as_many_lines_as_its_header_says():
    for seed in range(20):
        old = some(300, 40, seed)
        new = changed(old, seed)
        for header, *lines in unified(old, new, changes(old, new)):
            before, after = (int(part.split(",")[1]) for part in header.split()[1:3])
            assert sum(line[0] in " -" for line in lines) == before
            assert sum(line[0] in " +" for line in lines) == after


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["a"] * 50_000, ["a", "b"] * 25_000),
        (["a", "b"] * 25_000, ["b", "a"] * 20_000),
        ([str(n) for n in range(50_000)], [str(n) for n in reversed(range(50_000))]),
        ([str(n % 49) for n in range(40_000)], [str(n % 50) for n in range(39_000)]),
    ],
    ids=["one line only", "two lines", "backwards", "few lines, out of step"],
)
@pytest.mark.timeout(60)
def test_what_has_nothing_to_meet_in_is_told_without_much_ado(old, new):
    assert apply(old, changes(old, new), new) == new
