"""INI files: a value is replaced by its section and key (`Database:Host`; a key above all sections by itself).

Quotes around a value and a comment behind it stay. Lines that are indented further than a key belong to its value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Mapping, Tuple

from runner.errors import FileMalformed, StepFailed
from runner.file_format import FileFormat, looks_like_nothing
from runner.rewriting import Rewriting, Wanted, lines_of

_SECTION = re.compile(r"\[(.+)\]\s*(?:[;#].*)?\Z")
_KEY = re.compile(r"\s*([^=:]*)[=:][ \t]*")
_COMMENT = re.compile(r"(?<=[ \t])[;#]")


@dataclass
class _Entry:
    section: str
    key: str
    indent: int
    start: int
    stop: int


def _has_name(name: str) -> bool:
    return name.endswith((".ini", ".cfg"))


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    wanted = Wanted(values)
    rewriting = Rewriting(text)
    for entry in _entries(text):
        name = wanted.name(wanted.path(wanted.path("", entry.section) if entry.section else "", entry.key))
        if name is not None:
            written = _written(wanted[name], text[entry.start : entry.stop], name)
            rewriting.put(name, entry.start, entry.stop, written)
    return rewriting.result()


def _entries(text: str) -> List[_Entry]:
    entries: List[_Entry] = []
    section = ""
    is_open = False
    for number, start, stop in lines_of(text):
        line = text[start:stop]
        body = line.strip()
        if not body or body[0] in ";#":
            continue
        indent = len(line) - len(line.lstrip())
        if is_open and indent > entries[-1].indent:
            entries[-1].stop = start + len(line.rstrip())
        elif body[0] == "[":
            found = _SECTION.match(body)
            if found is None:
                raise FileMalformed("not well-formed INI: expected a section such as [name]", number)
            section, is_open = found.group(1), False
        else:
            key = _KEY.match(line)
            is_open = key is not None
            if key is not None:
                first, last = _value(line, key.end())
                entries.append(_Entry(section, key.group(1).strip(), indent, start + first, start + last))
    return entries


def _value(line: str, at: int) -> Tuple[int, int]:
    """Where the value of a line begins and ends; a quoted one with its quotes."""
    if line[at : at + 1] in ("'", '"'):
        end = line.find(line[at], at + 1) + 1
        if end and line[end:].strip()[:1] in ("", ";", "#"):
            return at, end
    comment = _COMMENT.search(line, at + 1)
    return at, at + len(line[at : comment.start() if comment else None].rstrip())


def _written(value: str, old: str, name: str) -> str:
    if "\n" in value or "\r" in value:
        raise StepFailed(f"the value of {name} has several lines, which INI cannot hold")
    if len(old) < 2 or old[0] not in "'\"" or old[-1] != old[0]:
        return value
    for quote in (old[0], "'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise StepFailed(f"the value of {name} has both kinds of quotes, which a quoted INI value cannot hold")


FORMAT = FileFormat(name="INI", has_name=_has_name, has_look=looks_like_nothing, replace=_replace)
