"""The catalogue of script languages: a file each, which offers LANGUAGE."""

from __future__ import annotations

from typing import List

from runner.catalogue import entries, entry
from runner.language import Language


def find_language(name: str) -> Language:
    """The language of a name such as `bash`; raises StepUnknown."""
    language: Language = entry("languages", name, "script language").LANGUAGE
    return language


def all_languages() -> List[Language]:
    return [module.LANGUAGE for module in entries("languages")]
