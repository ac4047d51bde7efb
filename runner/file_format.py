"""What a configuration file format offers: recognising a file, and putting values in the place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Tuple


@dataclass(frozen=True)
class FileFormat:
    """One file format.

    Args:
        name: For messages.
        recognise: Whether a file's name (lower case) or text is of this format.
        replace: The text with values replaced and all else kept as it was, and the names that were used; raises
            StepFailed where the text is not well formed.
    """

    name: str
    recognise: Callable[[str, str], bool]
    replace: Callable[[str, Mapping[str, str]], Tuple[str, Tuple[str, ...]]]
