"""PURE. Finds values by name: exact, without regard to case, as branches of a collection, and near misses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Mapping, Sequence, Tuple

# A step of a path as it is looked up: whether it is an index, and its text.
Found = Tuple[bool, str]
_CONSIDERED = 20
_COMPARED_CHARS = 80


@dataclass
class Branch:
    """A place in the tree that names make: `Db[a].Host` is the branch `Host` of the branch `[a]` of `Db`."""

    declared: str | None = None
    key: str | None = None
    children: Dict[Found, Branch] = field(default_factory=dict)

    def items(self) -> List[Branch]:
        """What `#{each}` goes through: the branches with an index, in the order of their declaration."""
        return [child for (is_index, _), child in self.children.items() if is_index]

    def walk(self, steps: Sequence[Found]) -> Branch | None:
        """The branch below; `*` is the first item there is."""
        branch: Branch = self
        for is_index, text in steps:
            child = branch.children.get((is_index, text.casefold()))
            if child is None and is_index and text == "*":
                child = next(iter(branch.items()), None)
            if child is None:
                return None
            branch = child
        return branch


class Names:
    """Every variable of one expansion."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._folded: Dict[str, str] | None = None
        self._tree: Branch | None = None

    def find(self, name: str) -> str | None:
        """The name as it was declared; None where there is no such variable."""
        if name in self._variables:
            return name
        if self._folded is None:
            self._folded = {key.casefold(): key for key in self._variables}
        return self._folded.get(name.casefold())

    def value(self, declared: str) -> str:
        return self._variables[declared]

    def branch(self, steps: Sequence[Found]) -> Branch | None:
        if self._tree is None:
            self._tree = Branch()
            for name in self._variables:
                self._plant(name)
        return self._tree.walk(steps)

    def nearest(self, name: str) -> List[str]:
        return nearest(name, self._variables)

    def _plant(self, name: str) -> None:
        branch = self._tree or Branch()
        for is_index, text in steps_of(name):
            place = (is_index, text.casefold())
            if place not in branch.children:
                branch.children[place] = Branch(key=text if is_index else None)
            branch = branch.children[place]
        branch.declared = branch.declared or name


def steps_of(name: str) -> List[Found]:
    """The steps of a declared name; brackets that do not match are part of the name."""
    steps: List[Found] = []
    start = at = 0
    while at < len(name):
        end = _closing(name, at) if name[at] == "[" else -1
        if name[at] == "." or end >= 0:
            if at > start:
                steps.append((False, name[start:at].strip()))
            if end >= 0:
                steps.append((True, name[at + 1 : end].strip()))
                at = end
            start = at + 1
        at += 1
    if start < len(name):
        steps.append((False, name[start:].strip()))
    return steps


def _closing(name: str, opening: int) -> int:
    depth = 0
    for at in range(opening, min(len(name), opening + 1024)):
        depth += {"[": 1, "]": -1}.get(name[at], 0)
        if depth == 0:
            return at
    return -1


def joined(steps: Iterable[Found]) -> str:
    """The name that the steps spell."""
    return "".join(f"[{text}]" if is_index else f".{text}" for is_index, text in steps)[1:]


def is_one_index(text: str) -> bool:
    """Whether a computed index stays inside its brackets: else what a target said could spell another name."""
    depth = 0
    for here in text:
        depth += {"[": 1, "]": -1}.get(here, 0)
        if depth < 0:
            return False
    return depth == 0


def nearest(name: str, known: Iterable[str]) -> List[str]:
    """Up to three of the known names that look like this one; the work grows with their number and no faster."""
    import difflib  # late: only a mistake needs it

    wanted = name.casefold()[:_COMPARED_CHARS]
    pairs = _pairs(wanted)
    ranked = sorted(
        ((len(pairs & _pairs(each.casefold()[:_COMPARED_CHARS])), each) for each in known), key=lambda found: -found[0]
    )
    likely = {each.casefold()[:_COMPARED_CHARS]: each for _, each in reversed(ranked[:_CONSIDERED])}
    return [likely[each] for each in difflib.get_close_matches(wanted, list(likely), n=3, cutoff=0.6)]


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[at : at + 2] for at in range(max(len(text) - 1, 1)))
