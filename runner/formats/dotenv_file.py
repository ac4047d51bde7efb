"""`.env` files: the value of a name is replaced; quotes stay, or come where the new value needs them."""

from __future__ import annotations

import re
from typing import Iterator, Mapping, Tuple

from runner.errors import FileMalformed
from runner.file_format import FileFormat, looks_like_nothing
from runner.rewriting import Rewriting, Wanted, line_of

_NOTHING = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?=[\r\n]|\Z)")
_ENTRY = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.\-]*)[ \t]*(=[ \t]*)?")
_QUOTED = {"'": re.compile(r"'[^']*'"), '"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)}
_REST = re.compile(r"[^\r\n]*")
_COMMENT = re.compile(r"(?<=[ \t])#")
_PLAIN = re.compile(r"[^\s'\"`\\$#&|;<>()*?!~]*\Z")
# What means something between double quotes to a shell or to a reader of such files.
_SPECIAL = re.compile(r'[\\"$`]')
_Place = Tuple[str, int, int]


def _has_name(name: str) -> bool:
    return name == ".env" or name.startswith(".env.") or name.endswith(".env")


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    wanted = Wanted(values)
    rewriting = Rewriting(text)
    for key, start, stop in _places(text):
        name = wanted.name(wanted.path("", key))
        if name is not None:
            rewriting.put(name, start, stop, _written(wanted[name], text[start : start + 1]))
    return rewriting.result()


def _places(text: str) -> Iterator[_Place]:
    at = 0
    while at < len(text):
        nothing = _NOTHING.match(text, at)
        if nothing is None:
            entry = _ENTRY.match(text, at)
            if entry is None:
                raise FileMalformed("not well-formed .env: expected NAME=VALUE", line_of(text, at))
            stop, rest = _value(text, entry.end())
            if entry.group(2):
                yield entry.group(1), entry.end(), stop
            elif text[entry.end() : rest].strip():
                raise FileMalformed("not well-formed .env: expected NAME=VALUE", line_of(text, at))
            at = rest
        else:
            at = nothing.end()
        at += 2 if text.startswith("\r\n", at) else 1


def _value(text: str, start: int) -> Tuple[int, int]:
    """Where a value and its line end; a quoted one may span lines."""
    pattern = _QUOTED.get(text[start : start + 1])
    if pattern is not None:
        quoted = pattern.match(text, start)
        if quoted is None:
            raise FileMalformed("not well-formed .env: expected a closing quote", line_of(text, start))
        rest = _REST.match(text, quoted.end())
        assert rest is not None
        if rest.group().strip()[:1] in ("", "#"):
            return quoted.end(), rest.end()
    line = _REST.match(text, start)
    assert line is not None
    comment = _COMMENT.search(text, start, line.end())
    stop = start + len(text[start : comment.start() if comment else line.end()].rstrip())
    return stop, line.end()


def _written(value: str, quote: str) -> str:
    if quote not in ("'", '"') and _PLAIN.match(value):
        return value
    if quote == '"' and not _SPECIAL.search(value):
        return f'"{value}"'
    # Between single quotes every reader takes every sign as it is.
    if "'" not in value:
        return f"'{value}'"
    return '"' + _SPECIAL.sub(r"\\\g<0>", value) + '"'


FORMAT = FileFormat(name=".env", has_name=_has_name, has_look=looks_like_nothing, replace=_replace)
