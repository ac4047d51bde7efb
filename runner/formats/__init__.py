"""The catalogue of configuration file formats: a file each, which offers FORMAT."""

from __future__ import annotations

from typing import List

from runner.catalogue import entries
from runner.errors import StepFailed
from runner.file_format import FileFormat


def format_of(name: str, text: str) -> FileFormat:
    """The format of a file by its name, else by the look of its text.

    Raises:
        StepFailed: no known format recognises it.
    """
    formats: List[FileFormat] = [module.FORMAT for module in entries("formats")]
    base = name.rpartition("/")[2].lower()
    for known in formats:
        if known.has_name(base):
            return known
    for known in formats:
        if known.has_look(text):
            return known
    raise StepFailed(f"no known format; known are {', '.join(known.name for known in formats)}")
