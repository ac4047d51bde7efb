"""PURE. Regular expressions whose work grows with text times pattern and no faster, whatever either holds.

All ways through the pattern are followed at once (Pike's machine), in the order in which a backtracking engine would
try them, so what is found is the same. What cannot be done so is refused: back references and looking around.

Source: Thompson, CACM 11(6), 1968; Cox, Regular Expression Matching: the Virtual Machine Approach, 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple

from runner.filters.pattern_reader import Op, read_pattern

_STEPS_PER_UNIT = 8
Thread = Tuple[int, Tuple[int, ...]]


@dataclass(frozen=True)
class Match:
    start: int
    end: int
    groups: Tuple[int, ...]
    names: Dict[str, int]

    def group(self, name: str, text: str) -> str | None:
        """A group by its number or name; empty where it took no part, None where there is no such group."""
        number = int(name) if name.isdigit() else self.names.get(name)
        if number is None or 2 * number + 1 >= len(self.groups):
            return None
        start, end = self.groups[2 * number : 2 * number + 2]
        return text[start:end] if start >= 0 and end >= 0 else ""


class Pattern:
    """A pattern that is read.

    Raises:
        Refused: it is not well formed, too large, or needs what this engine does not do.
    """

    def __init__(self, source: str) -> None:
        self.literal = None if any(mark in source for mark in "\\.[](){}*+?^$|") else source
        self._program, self._names, groups = read_pattern(source)
        self._slots = 2 * (groups + 1)

    def search(self, text: str, start: int, spend: Callable[[int], None]) -> Match | None:
        """The leftmost find from `start` on."""
        empty = (-1,) * self._slots
        threads: List[Thread] = []
        best: Tuple[int, ...] | None = None
        owed = 0
        for at in range(start, len(text) + 1):
            seen: set[int] = set()
            reached: List[Thread] = []
            for pc, slots in threads:
                self._follow(pc, slots, at, text, seen, reached)
            if best is None:
                self._follow(0, empty, at, text, seen, reached)
            elif not reached:
                break
            owed += len(seen) + 1
            if owed > 1000:
                spend(owed // _STEPS_PER_UNIT)
                owed = 0
            threads, found = self._step(reached, at, text)
            best = found or best
        spend(owed // _STEPS_PER_UNIT)
        return None if best is None else Match(best[0], best[1], best, self._names)

    def _step(self, reached: List[Thread], at: int, text: str) -> Tuple[List[Thread], Tuple[int, ...] | None]:
        """The threads that take the character at `at`; one that matches ends those after it."""
        following: List[Thread] = []
        here = text[at : at + 1]
        for pc, slots in reached:
            instruction = self._program[pc]
            if instruction.op is Op.MATCH:
                return following, (slots[0], at, *slots[2:])
            if here and instruction.takes(here):
                following.append((pc + 1, slots))
        return following, None

    def _follow(
        self, pc: int, slots: Tuple[int, ...], at: int, text: str, seen: set[int], reached: List[Thread]
    ) -> None:
        """Add what can be reached without taking a character, in order of preference."""
        waiting: List[Thread] = [(pc, slots)]
        while waiting:
            pc, slots = waiting.pop()
            if pc in seen:
                continue
            seen.add(pc)
            instruction = self._program[pc]
            if instruction.op is Op.SPLIT:
                waiting += [(instruction.second, slots), (instruction.first, slots)]
            elif instruction.op is Op.JUMP:
                waiting.append((instruction.first, slots))
            elif instruction.op is Op.SAVE:
                slot = instruction.first
                waiting.append((pc + 1, (*slots[:slot], at, *slots[slot + 1 :])))
            elif instruction.op is Op.AT:
                if _stands(instruction.mark, at, text):
                    waiting.append((pc + 1, slots))
            else:
                reached.append((pc, slots))


def _stands(mark: str, at: int, text: str) -> bool:
    last = len(text)
    if mark in {"^", "A"}:
        return at == 0
    if mark == "z":
        return at == last
    if mark in {"$", "Z"}:
        return at == last or (at == last - 1 and text[at] == "\n")
    if mark == "m^":
        return at == 0 or text[at - 1] == "\n"
    if mark == "m$":
        return at == last or text[at] == "\n"
    edge = _is_word(text[at - 1 : at] if at else "") != _is_word(text[at : at + 1])
    return edge if mark == "b" else not edge


def _is_word(here: str) -> bool:
    return here.isalnum() or here == "_"
