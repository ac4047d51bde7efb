"""PURE. The template language: `#{Name}` stands for a variable's value; `##{` is a literal `#{`.

A name runs to its closing brace and may hold spaces, brackets and dots (`Manyarm.Step[Deploy web].Output[web-1].Url`)
and further `#{…}`, which are expanded first. Values are expanded in turn, except those that a target gave
(`verbatim`): such a value is data for ever. Names match exactly, or else without regard to case.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Tuple

from runner.contract.errors import TemplateError, TemplateSyntax, TemplateTooDeep, TemplateTooLarge, UnknownVariable

DEPTH_MAX = 20
SIZE_MAX_CHARS = 16 * 1024 * 1024
NAME_MAX_CHARS = 1024


def expand(
    text: str,
    variables: Mapping[str, str],
    strict: bool = True,
    *,
    source: str = "",
    verbatim: Collection[str] = (),
    limit: int = SIZE_MAX_CHARS,
) -> str:
    """The text with every reference replaced.

    Args:
        text: What to expand.
        variables: Values by name, not expanded themselves.
        strict: Refuse an unknown name; otherwise its reference stays as it stands.
        source: File or variable that the text is from, for messages.
        verbatim: Names whose values are never expanded further (outputs of targets, secrets).
        limit: Characters that the result may have.

    Raises:
        TemplateError: one of its four children, naming source and line.
    """
    if "#{" not in text:
        return text
    return _Expansion(_Names(variables), strict, frozenset(verbatim), limit).run(text, source, ())


def references(text: str) -> Tuple[str, ...]:
    """Names that a text refers to directly, in order; computed names (`#{A[#{B}]}`) give their inner parts."""
    found: List[str] = []
    stack = [text]
    while stack:
        current = stack.pop()
        for part in _parts(current, ""):
            if not part.is_reference:
                continue
            if "#{" in part.text:
                stack.append(part.text)
            else:
                found.append(part.text.strip())
    return tuple(found)


@dataclass(frozen=True)
class _Part:
    text: str
    is_reference: bool
    line: int


class _Names:
    """Finds a value by its exact name, else by its name without regard to case."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._folded: Dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """The name as it was declared; None where there is no such variable."""
        if name in self._variables:
            return name
        if self._folded is None:
            self._folded = {key.casefold(): key for key in self._variables}
        return self._folded.get(name.casefold())

    def value(self, declared: str) -> str:
        return self._variables[declared]

    def nearest(self, name: str) -> List[str]:
        return difflib.get_close_matches(name, list(self._variables)[:5000], n=3, cutoff=0.6)


@dataclass(frozen=True)
class _Expansion:
    names: _Names
    strict: bool
    verbatim: Collection[str]
    limit: int

    def run(self, text: str, source: str, chain: Tuple[str, ...]) -> str:
        pieces: List[str] = []
        size = 0
        for part in _parts(text, source):
            piece = self._value(part, source, chain) if part.is_reference else part.text
            pieces.append(piece)
            size += len(piece)
            if size > self.limit:
                raise TemplateTooLarge(source, part.line, f"the expanded text would pass {self.limit} characters")
        return "".join(pieces)

    def _value(self, part: _Part, source: str, chain: Tuple[str, ...]) -> str:
        wanted = self.run(part.text, source, chain) if "#{" in part.text else part.text
        wanted = wanted.strip()
        if not wanted or len(wanted) > NAME_MAX_CHARS:
            raise TemplateSyntax(source, part.line, f"a name has 1 to {NAME_MAX_CHARS} characters")
        declared = self.names.find(wanted)
        if declared is None:
            if self.strict:
                raise UnknownVariable(source, part.line, wanted, self.names.nearest(wanted))
            return "#{" + part.text + "}"
        if declared in chain or len(chain) >= DEPTH_MAX:
            raise TemplateTooDeep(
                source, part.line, "variables refer to one another: " + " > ".join((*chain, declared))
            )
        value = self.names.value(declared)
        if declared in self.verbatim or "#{" not in value:
            return value
        return self.run(value, f"variable {declared}", (*chain, declared))


def _parts(text: str, source: str) -> List[_Part]:
    """Cut a text into literal pieces and references; a reference's text is what stands between its braces."""
    parts: List[_Part] = []
    at, line = 0, 1
    while True:
        opening = text.find("#{", at)
        if opening < 0:
            parts.append(_Part(text[at:], is_reference=False, line=line))
            return parts
        # A doubled hash before the brace makes it literal and is itself halved.
        escaped = opening > at and text[opening - 1] == "#"
        literal = text[at:opening]
        if escaped:
            parts.append(_Part(literal[:-1] + "#{", is_reference=False, line=line))
            line += literal.count("\n")
            at = opening + 2
            continue
        parts.append(_Part(literal, is_reference=False, line=line))
        line += literal.count("\n")
        closing = _closing(text, opening + 2, source, line)
        inside = text[opening + 2 : closing]
        parts.append(_Part(inside, is_reference=True, line=line))
        line += inside.count("\n")
        at = closing + 1


def _closing(text: str, start: int, source: str, line: int) -> int:
    """Where the brace stands that closes a reference whose name begins at `start`."""
    depth, at = 1, start
    stop = min(len(text), start + 8 * NAME_MAX_CHARS)
    while at < stop:
        if text.startswith("#{", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        if text[at] == "\n":
            break
        at += 1
    raise TemplateSyntax(source, line, "an opening '#{' has no '}' on its line; write '##{' for a literal '#{'")


__all__ = ["TemplateError", "expand", "references"]
