"""PURE. Reads a regular expression into the program of the machine that runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Dict, List, Tuple

from runner.filters.call import Refused

PROGRAM_MAX = 2000
_REPEATS_MAX = 1000
_DEPTH_MAX = 30
_GROUPS_MAX = 20


class Op(Enum):
    TAKE = 1
    SPLIT = 2
    JUMP = 3
    SAVE = 4
    AT = 5
    MATCH = 6


@dataclass(frozen=True)
class Class:
    """A set of characters: ranges and named kinds (`d`, `w`, `s`, upper case for what is none)."""

    ranges: Tuple[Tuple[str, str], ...] = ()
    kinds: str = ""
    negated: bool = False

    def lists(self, here: str) -> bool:
        return any(low <= here <= high for low, high in self.ranges) or any(_is(kind, here) for kind in self.kinds)


@dataclass(frozen=True)
class Instruction:
    """TAKE takes one character of its class; SPLIT prefers `first`; SAVE notes the place in slot `first`."""

    op: Op
    first: int = 0
    second: int = 0
    mark: str = ""
    wanted: Class | None = None
    folds: bool = False

    def takes(self, here: str) -> bool:
        if self.op is not Op.TAKE or self.wanted is None:
            return False
        if self.folds:
            return self.wanted.negated != (self.wanted.lists(here.lower()) or self.wanted.lists(here.upper()))
        return self.wanted.negated != self.wanted.lists(here)


def _is(kind: str, here: str) -> bool:
    lower = kind.lower()
    found = here.isdecimal() if lower == "d" else here.isspace() if lower == "s" else (here.isalnum() or here == "_")
    return found != kind.isupper()


def read_pattern(source: str) -> Tuple[List[Instruction], Dict[str, int], int]:
    """The program, the numbers of named groups, and how many groups there are.

    Raises:
        Refused: the pattern is not well formed or needs what is not done here.
    """
    if len(source) > PROGRAM_MAX:
        raise Refused(f"a pattern has up to {PROGRAM_MAX} characters")
    reader = _Reader(source)
    program = reader.alternatives(0)
    if reader.at < len(source):
        raise Refused("the pattern has a ')' without its '('")
    whole = [Instruction(Op.SAVE, 0), *_moved(program, 1), Instruction(Op.MATCH)]
    return whole, reader.names, reader.groups


def _moved(program: List[Instruction], by: int) -> List[Instruction]:
    """The same program, `by` places later."""
    if len(program) > PROGRAM_MAX:
        raise Refused("the pattern is too large")
    return [Instruction(i.op, i.first + by, i.second + by) if i.op in {Op.SPLIT, Op.JUMP} else i for i in program]


@dataclass
class _Reader:
    source: str
    at: int = 0
    groups: int = 0
    names: Dict[str, int] = field(default_factory=dict)
    folds: bool = False
    _lines: bool = False
    _dot_all: bool = False

    def alternatives(self, depth: int) -> List[Instruction]:
        if depth > _DEPTH_MAX:
            raise Refused(f"the pattern's groups stand in one another more than {_DEPTH_MAX} deep")
        program = self._sequence(depth)
        while self._takes("|"):
            other = self._sequence(depth)
            program = [
                Instruction(Op.SPLIT, 1, len(program) + 2),
                *_moved(program, 1),
                Instruction(Op.JUMP, len(program) + 2 + len(other)),
                *_moved(other, len(program) + 2),
            ]
        return program

    def _sequence(self, depth: int) -> List[Instruction]:
        program: List[Instruction] = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            piece = self._repeated(self._piece(depth))
            program += _moved(piece, len(program))
            if len(program) > PROGRAM_MAX:
                raise Refused("the pattern is too large")
        return program

    def _takes(self, token: str) -> bool:
        if self.source.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _next(self) -> str:
        if self.at >= len(self.source):
            raise Refused("the pattern ends too early")
        self.at += 1
        return self.source[self.at - 1]

    def _piece(self, depth: int) -> List[Instruction]:
        here = self._next()
        if here == "(":
            return self._group(depth)
        if here == "[":
            return [self._take(self._class())]
        if here == ".":
            return [self._take(Class(negated=True, ranges=() if self._dot_all else (("\n", "\n"),)))]
        if here in "^$":
            return [Instruction(Op.AT, mark="m" + here if self._lines else here)]
        if here in "*+?":
            raise Refused("the pattern repeats nothing")
        if here == "\\":
            return [self._escaped()]
        return [self._take(Class(((here, here),)))]

    def _take(self, wanted: Class) -> Instruction:
        return Instruction(Op.TAKE, wanted=wanted, folds=self.folds)

    def _group(self, depth: int) -> List[Instruction]:
        if not self._takes("?"):
            self.groups += 1
            return self._saved(self.groups, depth)
        if self._takes(":"):
            return self._closed(depth)
        if self.source[self.at : self.at + 1] in {"<", "'"} and self.source[self.at + 1 : self.at + 2] not in {
            "=",
            "!",
        }:
            closing = ">" if self._next() == "<" else "'"
            end = self.source.find(closing, self.at)
            name = self.source[self.at : max(end, self.at)]
            if not name.isidentifier():
                raise Refused("the pattern has a group without a name")
            self.at = end + 1
            self.groups += 1
            self.names[name] = self.groups
            return self._saved(self.groups, depth)
        start = self.at
        while self.source[self.at : self.at + 1] in {"i", "m", "s", "n"}:
            self.at += 1
        flags = self.source[start : self.at]
        if not flags or not self._takes(")") or start != 2:
            raise Refused("a pattern may not look around, and has its (?i) at its beginning")
        self.folds, self._lines, self._dot_all = "i" in flags, "m" in flags, "s" in flags
        return []

    def _saved(self, group: int, depth: int) -> List[Instruction]:
        if group > _GROUPS_MAX:
            raise Refused(f"a pattern has up to {_GROUPS_MAX} groups; write (?:…) for those that are not asked for")
        inside = self._closed(depth)
        return [Instruction(Op.SAVE, 2 * group), *_moved(inside, 1), Instruction(Op.SAVE, 2 * group + 1)]

    def _closed(self, depth: int) -> List[Instruction]:
        inside = self.alternatives(depth + 1)
        if not self._takes(")"):
            raise Refused("the pattern has a '(' without its ')'")
        return inside

    def _escaped(self) -> Instruction:
        here = self._next()
        if here in "bBAzZ":
            return Instruction(Op.AT, mark=here)
        if here in "dDwWsS":
            return self._take(Class(kinds=here))
        if here.isdigit() or here in "kpPG":
            raise Refused("a pattern may not refer back to a group, nor name a Unicode class")
        character = self._character(here)
        return self._take(Class(((character, character),)))

    def _character(self, here: str) -> str:
        plain = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "e": "\x1b", "a": "\a"}
        if here in "xu":
            digits = self.source[self.at : self.at + (2 if here == "x" else 4)]
            self.at += len(digits)
            try:
                return chr(int(digits, 16))
            except ValueError as error:
                raise Refused("the pattern has no number after its \\x or \\u") from error
        return plain.get(here, here)

    def _class(self) -> Class:
        negated = self._takes("^")
        ranges: List[Tuple[str, str]] = []
        kinds = ""
        first = True
        while True:
            here = self._next()
            if here == "]" and not first:
                return Class(tuple(ranges), kinds, negated)
            first = False
            if here == "\\":
                here = self._next()
                if here in "dDwWsS":
                    kinds += here
                    continue
                if here in "pP":
                    raise Refused("a pattern may not name a Unicode class")
                here = "\b" if here == "b" else self._character(here)
            high = here
            following = self.source[self.at + 1 : self.at + 2]
            if self.source[self.at : self.at + 1] == "-" and following not in {"]", ""}:
                self.at += 1
                high = self._next()
                if high == "\\":
                    high = self._character(self._next())
                if high < here:
                    raise Refused("a range of the pattern runs backwards")
            ranges.append((here, high))

    def _repeated(self, piece: List[Instruction]) -> List[Instruction]:
        bounds = self._bounds()
        if bounds is None:
            return piece
        lazy = self._takes("?")
        if self._bounds() is not None:
            raise Refused("the pattern repeats a repetition; write (?:a*)+")
        return _repetition(piece, bounds[0], bounds[1], lazy) if piece else piece

    def _bounds(self) -> Tuple[int, int | None] | None:
        for token, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._takes(token):
                return bounds
        end = self.source.find("}", self.at)
        if not self.source.startswith("{", self.at) or end < 0:
            return None
        least, comma, most = self.source[self.at + 1 : end].partition(",")
        if not (least.isdecimal() and (most.isdecimal() or not most)):
            return None
        if len(least) > 4 or len(most) > 4 or max(int(least), int(most or 0)) > _REPEATS_MAX:
            raise Refused(f"a pattern repeats up to {_REPEATS_MAX} times")
        self.at = end + 1
        highest = (int(most) if most else None) if comma else int(least)
        if highest is not None and highest < int(least):
            raise Refused("a pattern's repetition has its bounds the wrong way round")
        return int(least), highest


def _repetition(piece: List[Instruction], least: int, most: int | None, lazy: bool) -> List[Instruction]:
    copies = least + (1 if most is None else most - least)
    if (len(piece) + 2) * max(copies, 1) > PROGRAM_MAX:
        raise Refused("the pattern is too large")
    program: List[Instruction] = []
    for _ in range(least):
        program += _moved(piece, len(program))
    if most is None:
        here = len(program)
        program.append(_split(here + 1, here + len(piece) + 2, lazy))
        program += _moved(piece, here + 1)
        program.append(Instruction(Op.JUMP, here))
        return program
    end = len(program) + (most - least) * (len(piece) + 1)
    for _ in range(most - least):
        program.append(_split(len(program) + 1, end, lazy))
        program += _moved(piece, len(program))
    return program


def _split(body: int, beyond: int, lazy: bool) -> Instruction:
    return Instruction(Op.SPLIT, beyond, body) if lazy else Instruction(Op.SPLIT, body, beyond)
