"""What a configuration file format offers: recognising a file, and putting values in the place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Tuple


@dataclass(frozen=True)
class FileFormat:
    """One file format.

    Args:
        name: For messages.
        has_name: Whether a file of this name (lower case, no folders) is of this format.
        has_look: Whether a text whose file's name says nothing looks like this format and like no other one.
        replace: The text with values replaced and all else kept as it was, and the names that were used; raises
            FileMalformed where the text is not well formed.
    """

    name: str
    has_name: Callable[[str], bool]
    has_look: Callable[[str], bool]
    replace: Callable[[str, Mapping[str, str]], Tuple[str, Tuple[str, ...]]]


def looks_like_nothing(_text: str) -> bool:
    """The look of a format whose files could as well be of another one."""
    return False
