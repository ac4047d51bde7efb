"""PURE. To which release does an environment go back? To the one that was there before what is there now.

1.0  1.1  1.2  back(1.1)        there: 1.1, below it: 1.0     so going back again leads to 1.0, not to 1.2
1.0  1.1  1.2 failed            there: 1.1 and pieces of 1.2  so going back leads to 1.1
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Went:
    """One deployment that has ended: of which release, how, and whether it was itself a way back."""

    release: str
    succeeded: bool
    rollback: bool = False


def release_before(history: Iterable[Went]) -> str | None:
    """The release to go back to.

    Args:
        history: Of one project in one environment, oldest first.

    Returns:
        None where nothing was there before.
    """
    stack: list[str] = []
    tried = ""
    for went in history:
        if not went.succeeded:
            # A way back that failed is tried again, not gone over.
            tried = tried if went.rollback else went.release
            continue
        tried = ""
        _place(stack, went)
    if stack and tried and tried != stack[-1]:
        return stack[-1]
    return stack[-2] if len(stack) > 1 else None


def _place(stack: list[str], went: Went) -> None:
    """A release goes on top; a way back takes away what came after it."""
    if went.rollback and went.release in stack:
        del stack[stack.index(went.release) + 1 :]
    elif not stack or stack[-1] != went.release:
        if went.release in stack:
            stack.remove(went.release)
        stack.append(went.release)
