"""PURE. Shows of a text only what no secret had a part in: filtered, hashed, in pieces, too short to mask, none stays.

The text is made twice, once with the secrets and once with stand-ins that have nothing of them but their shape (and of
JSON the names). Where the two differ, a secret had a part. What both have in common is shown, and `***` for the rest.
"""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence

from runner.differences import changes

if TYPE_CHECKING:
    import random

HIDDEN = "***"
_WORD = frozenset(string.ascii_letters + string.digits)


def stand_ins(secrets: Mapping[str, str]) -> Dict[str, str]:
    """For each secret a value that differs in every place; what is JSON stays JSON of the same shape."""
    import random  # late: it takes longer than all else here

    maker = random.SystemRandom()
    return {name: _stand_in(value, maker) for name, value in secrets.items()}


def _stand_in(value: str, maker: random.Random) -> str:
    if value.lstrip()[:1] in ("{", "["):
        try:
            return json.dumps(_other(json.loads(value), maker))
        except (ValueError, RecursionError):
            pass  # It only looks like JSON.
    return "".join(_other_character(character, maker) for character in value)


def _other(value: Any, maker: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: _other(item, maker) for key, item in value.items()}
    if isinstance(value, list):
        return [_other(item, maker) for item in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 + maker.randrange(1_000_000)
    return value if value is None else "".join(_other_character(character, maker) for character in value)


def _other_character(character: str, maker: random.Random) -> str:
    """A digit for a digit, so that a number stays one; line ends stay, so that lines can be told apart."""
    if character in "\r\n":
        return character
    kinds = string.digits if character in string.digits else string.ascii_letters
    return maker.choice([other for other in kinds if other.casefold() != character.casefold()])


def without_traces(real: Sequence[str], other: Sequence[str]) -> List[str]:
    """The lines of a text as they may be shown, beside the same text made with stand-ins."""
    shown: List[str] = []
    at = 0
    for change in changes(real, other):
        shown += real[at : change.old_start]
        mine, theirs = real[change.old_start : change.old_stop], other[change.new_start : change.new_stop]
        if len(mine) == len(theirs):
            shown += [_shown_line(line, another) for line, another in zip(mine, theirs)]
        else:
            shown += [HIDDEN] * len(mine)
        at = change.old_stop
    return [*shown, *real[at:]]


def _shown_line(line: str, other: str) -> str:
    """What both lines begin and end with, as far as that are whole words: the rest may be alike by chance."""
    length = min(len(line), len(other))
    start = next((n for n in range(length) if line[n] != other[n]), length)
    end = next((n for n in range(length - start) if line[-1 - n] != other[-1 - n]), length - start)
    while start and line[start - 1] in _WORD:
        start -= 1
    while end and line[len(line) - end] in _WORD:
        end -= 1
    return f"{line[:start]}{HIDDEN}{line[len(line) - end :]}"
