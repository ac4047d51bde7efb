"""The catalogue of script languages: a file each, which offers LANGUAGE."""

from __future__ import annotations

from typing import List, Tuple

from runner.catalogue import entries, entry, names
from runner.contract.step_kind import Property
from runner.language import Language


def find_language(name: str) -> Language:
    """The language of a name such as `bash`; raises StepUnknown."""
    language: Language = entry("languages", name, "script language").LANGUAGE
    return language


def all_languages() -> List[Language]:
    """In the order in which packaged scripts are chosen."""
    return sorted((module.LANGUAGE for module in entries("languages")), key=lambda found: found.preference)


def script_properties() -> Tuple[Property, ...]:
    """What a step kind with scripts offers to choose: their language, and whether they are strict."""
    return (
        Property(
            "shell",
            "choice",
            help="The language of typed scripts; a first line with #! decides before it.",
            default="bash",
            choices=names("languages"),
        ),
        Property("strict", "boolean", help="End a script at the first command that fails.", default=True),
    )
