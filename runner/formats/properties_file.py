"""Java's properties: the value of a key is replaced, escaped as `java.util.Properties` reads it back."""

from __future__ import annotations

import re
from typing import Iterator, Mapping, Tuple

from runner.errors import FileMalformed
from runner.file_format import FileFormat, looks_like_nothing
from runner.rewriting import Rewriting, Wanted, line_of, lines_of

_KEY = re.compile(r"[ \t\f]*((?:[^\\=: \t\f\r\n]|\\(?:\r\n|[\r\n])[ \t\f]*|\\.)*)([ \t\f]*[=:]?[ \t\f]*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|u|(?:\r\n|[\r\n])[ \t\f]*|(.)|\Z)", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_WRITTEN = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}


def _has_name(name: str) -> bool:
    return name.endswith(".properties")


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    wanted = Wanted(values)
    rewriting = Rewriting(text)
    for start, stop in _logical_lines(text):
        found = _KEY.match(text, start, stop)
        assert found is not None
        name = wanted.name(wanted.path("", _unescaped(text, *found.span(1))))
        _unescaped(text, found.end(), stop)
        if name is not None:
            separator = "" if found.group(2) else "="
            rewriting.put(name, found.end(), stop, separator + _escaped(wanted[name]))
    return rewriting.result()


def _logical_lines(text: str) -> Iterator[Tuple[int, int]]:
    """Start and end of every entry: a line, and those that it is continued on by a backslash at its end."""
    begin = -1
    for _, start, stop in lines_of(text):
        if begin < 0:
            first = text[start:stop].lstrip(" \t\f")[:1]
            if not first or first in "#!":
                continue
            begin = start
        line = text[start:stop]
        if (len(line) - len(line.rstrip("\\"))) % 2 and stop < len(text):
            continue
        yield begin, stop
        begin = -1
    if begin >= 0:
        yield begin, len(text)


def _unescaped(text: str, start: int, stop: int) -> str:
    pieces = []
    at = start
    for found in _ESCAPE.finditer(text, start, stop):
        digits, letter = found.groups()
        if found.group() == "\\u":
            raise FileMalformed("expected four hex digits after \\u", line_of(text, found.start()))
        pieces.append(text[at : found.start()])
        pieces.append(chr(int(digits, 16)) if digits else _LETTERS.get(letter, letter or ""))
        at = found.end()
    return "".join([*pieces, text[at:stop]])


def _escaped(value: str) -> str:
    """A value as Java writes it; what is not ASCII is escaped, for a reader may take the file for Latin-1."""
    begin = "\\" if value[:1] in (" ", "=", ":") and value else ""
    return begin + "".join(_WRITTEN.get(sign) or _ascii(sign) for sign in value)


def _ascii(sign: str) -> str:
    if " " <= sign <= "~":
        return sign
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


FORMAT = FileFormat(name="properties", has_name=_has_name, has_look=looks_like_nothing, replace=_replace)
