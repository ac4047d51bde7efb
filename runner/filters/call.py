"""PURE. What a filter is given, and what it says when it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Callable, Tuple

# The time here and now, with its zone.
Clock = Callable[[], datetime]
MANY = 1_000_000


class Refused(Exception):
    """The filter cannot take this; the sentence says why and holds nothing of value or options: they may be secret."""


class TooMuch(Exception):
    """The result would be too long."""


@dataclass(frozen=True)
class Call:
    """One use of a filter.

    Attributes:
        name: As the template has it.
        text: What is filtered; None at the head of a chain that begins with a filter.
        options: What follows the filter's name.
        clock: The time.
        limit: Characters that a result may have.
        spend: Takes a number of steps from what the expansion may use, and ends it when they are used up.
    """

    name: str
    text: str | None
    options: Tuple[str, ...]
    clock: Clock
    limit: int
    spend: Callable[[int], None]

    @property
    def value(self) -> str:
        """The text of a filter that needs one."""
        return self.text or ""

    def option(self, index: int, otherwise: str = "") -> str:
        return self.options[index] if index < len(self.options) else otherwise

    def number(self, index: int) -> int:
        """An option that is a whole number, zero or more."""
        text = self.options[index]
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise Refused(f"option {index + 1} is no whole number from 0")
        return int(text)

    def fits(self, size: int) -> None:
        if size > self.limit:
            raise TooMuch


@dataclass(frozen=True)
class Filter:
    """A function and the options it takes; `alone` where it may begin a chain with nothing before it."""

    function: Callable[[Call], str]
    least: int = 0
    most: int = 0
    alone: bool = False

    def apply(self, call: Call) -> str:
        if not self.least <= len(call.options) <= self.most:
            allowed = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            if self.most == MANY:
                allowed = f"{self.least} or more"
            raise Refused(f"it takes {allowed} options, not {len(call.options)}")
        if call.text is None and not self.alone:
            raise Refused("it needs a value before it")
        return self.function(call)
