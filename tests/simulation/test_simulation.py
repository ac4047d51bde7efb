"""Every promise in thousands of histories, and at every place where a process may be killed; and that a breach is seen."""

import tomllib
from pathlib import Path

import pytest

from tests.simulation.history import minimal, tell
from tests.simulation.worse import BY_NAME

KEPT = tomllib.loads((Path(__file__).parent / "kept.toml").read_text())["history"]
A_BLOCK = 750
# Histories with faults of their own, of which some lose parts of logs, have two engines, or are put back to a backup.
TROUBLED = (9, 15, 113, 165, 472, 1_005)


@pytest.mark.parametrize("block", range(4))
def test_every_promise_holds_in_every_history(block):
    for seed in range(block * A_BLOCK, (block + 1) * A_BLOCK):
        told = tell(seed)
        assert not told.wrong, f"python -m tests.simulation 1 {seed} tells it: {told.wrong}"


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_between_any_two_effects_costs_nothing(seed):
    points = tell(seed, faultless=True).points
    assert points > 20
    for point in range(1, points + 1):
        told = tell(seed, kills={point}, faultless=True)
        assert not told.wrong, f"tell({seed}, kills={{{point}}}, faultless=True): {told.wrong}"


@pytest.mark.parametrize("seed", TROUBLED)
def test_a_kill_between_any_two_effects_costs_nothing_where_other_things_go_wrong_too(seed):
    points = tell(seed).points
    assert points > 20
    for point in range(1, points + 1):
        told = tell(seed, kills={point})
        assert not told.wrong, f"tell({seed}, kills={{{point}}}): {told.wrong}"


@pytest.mark.parametrize("row", KEPT, ids=lambda row: row["by"])
def test_a_mistake_is_found_out_and_what_went_wrong_by_it_goes_right_without_it(row):
    assert tell(row["seed"], row["without"], **BY_NAME[row["by"]]).wrong
    assert not tell(row["seed"], row["without"]).wrong


def test_every_mistake_is_kept():
    assert {row["by"] for row in KEPT} == set(BY_NAME)


def test_a_history_is_the_same_each_time_it_is_told():
    assert [tell(seed, story=True).story for seed in range(20)] == [tell(seed, story=True).story for seed in range(20)]


def test_what_is_minimal_still_goes_wrong():
    (row,) = [row for row in KEPT if row["by"] == "LooksAtNoClock"]
    kind = BY_NAME[row["by"]]
    without = minimal(row["seed"], **kind)
    assert without == tuple(row["without"])
    assert without
    assert tell(row["seed"], without, **kind).wrong
