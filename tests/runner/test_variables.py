"""Scoping: which value wins, and the reason that each other one is given."""

import pytest

from runner.contract.variables import Candidate, Context, Scope, rank, resolve

HERE = Context(environment="Production", target="web-1", roles=frozenset({"web", "eu"}), step="Deploy web")


def scope(**dimensions):
    return Scope(**{name: frozenset(values) for name, values in dimensions.items()})


def test_the_more_specific_dimension_wins_however_many_the_other_has():
    order = [
        scope(),
        scope(environments=["Production"]),
        scope(roles=["web"]),
        scope(roles=["web"], environments=["Production"]),
        scope(targets=["web-1"]),
        scope(targets=["web-1"], roles=["web"], environments=["Production"]),
        scope(steps=["Deploy web"]),
        scope(steps=["Deploy web"], environments=["Production"]),
    ]
    ranks = [rank(s, HERE) for s in order]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    for winner in range(len(order)):
        found = resolve([Candidate(str(i), s) for i, s in enumerate(order[: winner + 1])], HERE)
        assert found.winner.value == str(winner)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (scope(environments=["Test", "Dev"]), "holds for environment Dev or Test, here it is Production"),
        (scope(targets=["db-1"]), "holds for target db-1, here it is web-1"),
        (scope(roles=["db"]), "holds for role db, here it is eu, web"),
        (scope(steps=["Other"]), "holds for step Other, here it is Deploy web"),
        (scope(), "a value without scope is less specific than a value scoped by environment"),
    ],
)
def test_every_loser_is_given_its_reason(found, reason):
    resolution = resolve([Candidate("loses", found), Candidate("wins", scope(environments=["Production"]))], HERE)
    assert resolution.winner.value == "wins"
    assert [(loser.candidate.value, loser.reason) for loser in resolution.losers] == [("loses", reason)]


def test_a_tie_goes_to_the_nearer_source_and_then_to_the_first_declared():
    library = Candidate("library", source="set Common", nearness=1)
    project = Candidate("project")
    again = Candidate("again")
    found = resolve([library, project, again], HERE)
    assert found.winner is project
    assert [loser.reason for loser in found.losers] == [
        "set Common gives way to project",
        "the same scope stands earlier in project",
    ]


def test_nothing_matches_without_a_target_but_what_needs_none():
    context = Context(environment="Production")
    found = resolve(
        [Candidate("t", scope(targets=["web-1"])), Candidate("e", scope(environments=["Production"]))], context
    )
    assert found.winner.value == "e"
    assert resolve([Candidate("t", scope(targets=["web-1"]))], context).winner is None
