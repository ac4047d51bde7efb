"""The filters of the template language. Adding one is one function and its line in FILTERS, and one row of cases."""

from __future__ import annotations

from typing import Dict, Iterable

from runner.filters.call import Filter

_FOUND: Dict[str, Filter] = {}
_NAMES: Dict[str, str] = {}


def filter_named(name: str) -> Filter | None:
    """The filter of this name, whatever its case; None where there is none."""
    _load()
    return _FOUND.get(name.casefold())


def filter_names() -> Iterable[str]:
    """Every filter, as it is written."""
    _load()
    return _NAMES.values()


def _load() -> None:
    if _FOUND:
        return
    from runner.filters import checks, dates, escapes, formats, hashes, texts, uris, versions  # late: few jobs filter

    for module in (texts, escapes, checks, dates, formats, hashes, uris, versions):
        for name, spec in module.FILTERS.items():
            _FOUND[name.casefold()] = spec
            _NAMES[name.casefold()] = name
