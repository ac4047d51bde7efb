"""PURE. What a template is once it is read: texts, references, calculations and blocks.

Blocks and values are held while they are written out, tag by tag; with slots a tag takes half of the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple, Union


@dataclass(frozen=True)
class Text:
    __slots__ = ("text",)

    text: str


@dataclass(frozen=True)
class Step:
    """One step of a path: a name, or an index, which may hold references; `parts` are joined."""

    __slots__ = ("is_index", "parts")

    is_index: bool
    parts: Tuple[Union[str, Reference], ...]


@dataclass(frozen=True)
class Path:
    """`A.B[c].D`: which value."""

    __slots__ = ("steps",)

    steps: Tuple[Step, ...]


def spelled(path: Path) -> str:
    """The path as its template has it."""
    steps = ["".join(part if isinstance(part, str) else part.raw for part in step.parts) for step in path.steps]
    return "".join(f"[{text}]" if step.is_index else f".{text}" for step, text in zip(path.steps, steps))[1:]


@dataclass(frozen=True)
class FilterCall:
    __slots__ = ("name", "options")

    name: str
    options: Tuple[Union[str, Reference], ...]


@dataclass(frozen=True)
class Expression:
    """A value and what its filters make of it; without a path the first filter begins with nothing."""

    __slots__ = ("filters", "path")

    path: Path | None
    filters: Tuple[FilterCall, ...]


@dataclass(frozen=True)
class Reference:
    """`raw` is the tag as it stands in the text."""

    __slots__ = ("expression", "line", "raw")

    expression: Expression
    raw: str
    line: int


@dataclass(frozen=True)
class Condition:
    """Whether `left` is true (`wants` None), or is (`wants` True) or is not (False) what `right` says."""

    __slots__ = ("left", "line", "negated", "right", "wants")

    left: Expression
    wants: bool | None
    right: Union[str, Expression]
    negated: bool
    line: int


@dataclass(frozen=True)
class Branch:
    """A body and its condition; `#{else}` has none."""

    __slots__ = ("body", "condition")

    condition: Condition | None
    body: Tuple[Node, ...]


@dataclass(frozen=True)
class If:
    __slots__ = ("branches",)

    branches: Tuple[Branch, ...]


@dataclass(frozen=True)
class Each:
    __slots__ = ("body", "collection", "line", "variable")

    variable: str
    collection: Path
    body: Tuple[Node, ...]
    line: int


@dataclass(frozen=True)
class Calculation:
    """Numbers, paths and operators in the order in which a stack machine takes them."""

    __slots__ = ("line", "program", "raw")

    program: Tuple[Union[float, str, Path], ...]
    raw: str
    line: int


Node = Union[Text, Reference, Calculation, If, Each]
