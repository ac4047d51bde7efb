"""TOML files: values are replaced in place by table and key (`database:host`, `servers:0:port`).

Read here and not by `tomllib`, which Python 3.9 does not have and which does not say where a value stands.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Match, Optional, Pattern, Tuple

from runner.errors import FileMalformed, StepFailed
from runner.file_format import FileFormat, looks_like_nothing
from runner.rewriting import Rewriting, Wanted, line_of

MAX_DEPTH = 100
_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r?\n|\Z)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
# By how a text begins: the longer first.
_TEXTS: Tuple[Tuple[str, Pattern[str]], ...] = (
    ('"""', re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}")),
    ('"', re.compile(r'"(?:[^"\\\r\n]|\\[^\r\n])*"')),
    ("'", re.compile(r"'[^'\r\n]*'")),
)
_WORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:[0-9:.]+(?:[Zz]|[-+]\d\d:\d\d)?|[A-Za-z0-9_+.:-]+")
_TRUTH = re.compile(r"(?:true|false)\Z")
_NUMBER = re.compile(
    r"(?:0x[0-9a-fA-F](?:_?[0-9a-fA-F])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*|[-+]?(?:inf|nan"
    r"|(?:0|[1-9](?:_?\d)*)(?:\.\d(?:_?\d)*)?(?:[eE][-+]?\d(?:_?\d)*)?))\Z",
    re.ASCII,
)
_CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
_TIME = re.compile(
    rf"(?:\d{{4}}-\d\d-\d\d(?:[Tt ]{_CLOCK}(?:[Zz]|[-+]\d\d:\d\d)?)?|{_CLOCK})\Z",
    re.ASCII,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_LETTERS = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_Place = Tuple[str, int, int]


def _has_name(name: str) -> bool:
    return name.endswith(".toml")


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    wanted = Wanted(values)
    rewriting = Rewriting(text)
    for name, start, stop in _Reading(text, wanted).places():
        rewriting.put(name, start, stop, _written(wanted[name], text[start:stop], name))
    return rewriting.result()


class _Reading:
    """Goes through a file once and keeps the places that a variable is for, an outer one before those inside of it."""

    def __init__(self, text: str, wanted: Wanted) -> None:
        self._text = text
        self._wanted = wanted
        self._at = 0
        self._places: List[_Place] = []
        # How many tables each array of tables has so far, by its exact path.
        self._arrays: Dict[str, int] = {}

    def places(self) -> List[_Place]:
        table: Optional[str] = ""
        self._take(_SPACE)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table, 0)
            if self._take(_LINE_END) is None:
                raise self._fault("the end of the line")
            self._take(_SPACE)
        return self._places

    def _header(self) -> Optional[str]:
        """The path of the table that `[a.b]` or `[[a.b]]` begins."""
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        self._take(_BLANK)
        exact, path = "", self._wanted.path("", "")
        keys = self._keys()
        for number, key in enumerate(keys, 1):
            exact, path = f"{exact}\0{key}", self._wanted.path(path, key)
            if is_array and number == len(keys):
                self._arrays[exact] = self._arrays.get(exact, 0) + 1
            if exact in self._arrays:
                index = str(self._arrays[exact] - 1)
                exact, path = f"{exact}\0{index}", self._wanted.path(path, index)
        self._take(_BLANK)
        self._sign("]]" if is_array else "]")
        return path

    def _pair(self, path: Optional[str], depth: int) -> None:
        for key in self._keys():
            path = self._wanted.path(path, key)
        if self._take(_EQUALS) is None:
            raise self._fault("`=` and a value")
        self._value(path, depth)

    def _keys(self) -> List[str]:
        keys = [self._key()]
        while self._take(_DOT) is not None:
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        for opening, pattern in _TEXTS[2:]:
            if self._text.startswith(opening, self._at):
                written = self._take(pattern)
                if written is None:
                    raise self._fault("a closing quote")
                return written[1:-1] if opening == "'" else _ESCAPE.sub(_unescaped, written[1:-1])
        key = self._take(_BARE)
        if key is None:
            raise self._fault("a key")
        return key

    def _value(self, path: Optional[str], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise FileMalformed(f"not well-formed TOML: nested deeper than {MAX_DEPTH}", line_of(self._text, self._at))
        mine, start = len(self._places), self._at
        opening = self._text[start : start + 1]
        if opening == "[":
            self._items("]", path, depth + 1)
        elif opening == "{":
            self._items("}", path, depth + 1)
        else:
            self._scalar()
        name = self._wanted.name(path)
        if name is not None:
            self._places.insert(mine, (name, start, self._at))

    def _items(self, closing: str, path: Optional[str], depth: int) -> None:
        """The rest of an array or an inline table."""
        self._at += 1
        self._take(_SPACE)
        number = 0
        while not self._text.startswith(closing, self._at):
            if closing == "]":
                self._value(self._wanted.path(path, str(number)), depth)
            else:
                self._pair(path, depth)
            number += 1
            self._take(_SPACE)
            if not self._text.startswith(",", self._at):
                break
            self._at += 1
            self._take(_SPACE)
        self._sign(closing)

    def _scalar(self) -> None:
        for opening, pattern in _TEXTS:
            if self._text.startswith(opening, self._at):
                if self._take(pattern) is None:
                    raise self._fault("a closing quote")
                return
        found = _WORD.match(self._text, self._at)
        if found is None or not any(pattern.match(found.group()) for pattern in (_TRUTH, _NUMBER, _TIME)):
            raise self._fault("a value")
        self._at = found.end()

    def _sign(self, sign: str) -> None:
        if not self._text.startswith(sign, self._at):
            raise self._fault(f"`{sign}`")
        self._at += len(sign)

    def _take(self, pattern: Pattern[str]) -> Optional[str]:
        """What the pattern finds here, passed over; None where it finds nothing."""
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found.group()

    def _fault(self, expected: str) -> FileMalformed:
        return FileMalformed(f"not well-formed TOML: expected {expected}", line_of(self._text, self._at))


def _unescaped(found: Match[str]) -> str:
    short, long, letter = found.groups()
    if letter:
        return _LETTERS.get(letter, str(letter))
    code = int(short or long, 16)
    return chr(code) if code < 0x110000 else "\ufffd"


def _written(value: str, old: str, name: str) -> str:
    """The new value as TOML: of the old one's type where it reads as such, else a text."""
    text = value.strip()
    if old[0] in "'\"":
        return _text(value, old)
    if old[0] in "[{":
        new = _read(text)
        return _literal(new, name) if isinstance(new, list if old[0] == "[" else dict) else _basic(value)
    if _TRUTH.match(old):
        return text.lower() if _TRUTH.match(text.lower()) else _basic(value)
    kind = _NUMBER if _NUMBER.match(old) else _TIME
    return text if kind.match(text) else _basic(value)


def _text(value: str, old: str) -> str:
    """A text in the quotes of the old one, where it can stand in them."""
    if old.startswith(('"""', "'''")):
        quotes, begin = old[:3], old[3 : 5 if old.startswith("\r\n", 3) else 4]
        begin = begin if begin in ("\n", "\r\n") else ""
        is_literal = quotes == "'''" and "'''" not in value and not value.endswith("'")
        if is_literal and not _CONTROL.search(value) and (begin or not value.startswith("\n")):
            return f"{quotes}{begin}{value}{quotes}"
        lines = [_basic(line)[1:-1].replace("\\t", "\t") for line in value.split("\n")]
        if not begin and not lines[0] and len(lines) > 1:
            lines[:2] = [f"\\n{lines[1]}"]
        return f'"""{begin}' + "\n".join(lines) + '"""'
    is_literal = old[0] == "'" and "'" not in value and "\n" not in value and not _CONTROL.search(value)
    return f"'{value}'" if is_literal else _basic(value)


def _basic(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _literal(value: Any, name: str) -> str:
    """A value that was written as JSON, as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_basic(key)} = {_literal(item, name)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item, name) for item in value) + "]"
    if isinstance(value, str):
        return _basic(value)
    if value is None:
        raise StepFailed(f"the value of {name} holds null, which TOML has no word for")
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


FORMAT = FileFormat(name="TOML", has_name=_has_name, has_look=looks_like_nothing, replace=_replace)
