"""PURE. Which value of a variable wins, and why each of the others loses.

Within one dimension several names mean *or*; across dimensions all must match. The more specific dimension wins:

    step  >  target  >  role  >  environment  >  unscoped

Where the strongest dimension ties, the value that matches on more dimensions wins; where the whole rank ties, the
nearer source does (a value typed for this deployment, the project, then its variable sets in their order).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import FrozenSet, Generic, Sequence, Tuple, TypeVar

V = TypeVar("V")
Rank = Tuple[bool, bool, bool, bool]


@dataclass(frozen=True)
class Scope:
    """Where a value holds; an empty dimension does not restrict."""

    environments: FrozenSet[str] = frozenset()
    targets: FrozenSet[str] = frozenset()
    roles: FrozenSet[str] = frozenset()
    steps: FrozenSet[str] = frozenset()


@dataclass(frozen=True)
class Context:
    """Where a value is asked for; an empty name means that it is not known, and scoped values do not match."""

    environment: str = ""
    target: str = ""
    roles: FrozenSet[str] = frozenset()
    step: str = ""


@dataclass(frozen=True)
class Candidate(Generic[V]):
    """One value of a variable. `nearness` orders sources of equal rank, smallest first; `source` is for people."""

    value: V
    scope: Scope = Scope()
    source: str = "project"
    nearness: int = 0


@dataclass(frozen=True)
class Loser(Generic[V]):
    candidate: Candidate[V]
    reason: str


@dataclass(frozen=True)
class Resolution(Generic[V]):
    """`winner` is None where no candidate matches."""

    winner: Candidate[V] | None
    losers: Tuple[Loser[V], ...]


def rank(scope: Scope, context: Context) -> Rank | None:
    """How specific a scope is in this context, to be compared as a tuple; None where it does not match."""
    if mismatch(scope, context):
        return None
    return (bool(scope.steps), bool(scope.targets), bool(scope.roles), bool(scope.environments))


def mismatch(scope: Scope, context: Context) -> str:
    """Why a scope does not match, in words; empty where it does."""
    checks = (
        ("environment", scope.environments, frozenset({context.environment})),
        ("target", scope.targets, frozenset({context.target})),
        ("role", scope.roles, context.roles),
        ("step", scope.steps, frozenset({context.step})),
    )
    for dimension, wanted, present in checks:
        if wanted and not wanted & present:
            here = ", ".join(sorted(name for name in present if name)) or "none"
            return f"holds for {dimension} {' or '.join(sorted(wanted))}, here it is {here}"
    return ""


def resolve(candidates: Sequence[Candidate[V]], context: Context) -> Resolution[V]:
    """Choose among the values of one variable.

    Args:
        candidates: All values of that name, in the order of their declaration.
        context: Where the value is wanted.

    Returns:
        The winner, and every other candidate with the reason why it lost, in the order given.
    """
    ranked = [(found, c) for c in candidates if (found := rank(c.scope, context)) is not None]
    # max() keeps the first of equals: the declaration order is the last resort, and a stable one.
    best = max(ranked, key=lambda pair: (pair[0], -pair[1].nearness), default=None)
    if best is None:
        return Resolution(None, tuple(Loser(c, mismatch(c.scope, context)) for c in candidates))
    losers = tuple(Loser(c, _why(c, best, context)) for c in candidates if c is not best[1])
    return Resolution(best[1], losers)


def _why(loser: Candidate[V], best: Tuple[Rank, Candidate[V]], context: Context) -> str:
    own = rank(loser.scope, context)
    if own is None:
        return mismatch(loser.scope, context)
    if own != best[0]:
        return f"{_specificity(own)} is less specific than {_specificity(best[0])}"
    if loser.nearness != best[1].nearness:
        return f"{loser.source} gives way to {best[1].source}"
    return f"the same scope stands earlier in {best[1].source}"


def _specificity(found: Rank) -> str:
    names = [name for name, matched in zip(("step", "target", "role", "environment"), found) if matched]
    return "a value scoped by " + " and ".join(names) if names else "a value without scope"
