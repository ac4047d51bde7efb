"""YAML files: values are replaced in place by their path (`a:b:0:c`) in every document of a file.

ruamel.yaml tells where each value stands; the text is cut there, so comments, order and style stay as they are. A value
keeps its type and, where the new one can be written so, its style. What comes by an alias or a merge has no place of
its own: it changes where it is anchored, or where `*alias` itself is replaced.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Match, Optional, Tuple

from runner.errors import FileMalformed
from runner.file_format import FileFormat
from runner.rewriting import NOTHING, Rewriting, Wanted, line_of, read_json

# Reading takes about ten seconds for a million characters.
MAX_CHARS = 2 * 1024**2
MAX_DEPTH = 200
_PROPERTY = re.compile(r"(?:[&!][^\s,\[\]{}<]*|!<[^>\s]*>)\s*(?:#[^\r\n]*\s*)*")
_NUMBER = re.compile(
    r"[-+]?(?:0o[0-7]+|0x[0-9a-fA-F]+|\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\.inf|\.nan)\Z"
)
_TRUTH = re.compile(r"(?:true|false|yes|no|on|off)\Z", re.IGNORECASE)
_NULL = re.compile(r"(?:null|~|)\Z", re.IGNORECASE)
# Texts that every reader takes as they are, without quotes; and those among them that some take for a number or a date.
_PLAIN = re.compile(r"[A-Za-z0-9_/][^\x00-\x1f\x7f-\x9f\ufeff\u2028\u2029\ud800-\udfff:#\[\]{},&*!|>'\"%@`]*\Z")
_PLAIN_INSIDE = re.compile(r":(?!\s|\Z)|(?<!\s)#")
_ODD = re.compile(r"(?!\d+(?:\.\d+){2,}\Z)[\d_.]*(?:[eE][-+]?\d*)?\Z|0[xXoObB]|\d{4}-\d|\d+:\d|[ynYN]\Z")
_UNSAID = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_UNQUOTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


@dataclass
class _Level:
    """A mapping or list that is being read; `name` is the variable that is for all of it, `slot` where it is noted."""

    path: Optional[str]
    is_list: bool
    is_block: bool
    start: int
    name: Optional[str]
    slot: int
    key: Optional[str] = None
    key_stop: int = 0
    at_value: bool = False
    count: int = 0


@dataclass(frozen=True)
class _Place:
    name: str
    start: int
    stop: int
    kind: str  # "[", "{", "*" or the style of a scalar: "'", '"', "|", ">", and "" for a plain one
    text: str = ""
    has_tag: bool = False
    before: str = ""  # what has to stand before the new value


def _has_name(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _has_look(text: str) -> bool:
    return text.startswith(("---\n", "---\r\n", "%YAML"))


def _replace(text: str, values: Mapping[str, str]) -> Tuple[str, Tuple[str, ...]]:
    if len(text) > MAX_CHARS:
        raise FileMalformed(f"the file has over {MAX_CHARS} characters, too many for YAML")
    wanted = Wanted(values)
    rewriting = Rewriting(text)
    for place in _Reading(text, wanted).places():
        rewriting.put(place.name, place.start, place.stop, _written(wanted[place.name], place, text))
    return rewriting.result()


class _Reading:
    """Goes through the events of a file and keeps the places that a variable is for."""

    def __init__(self, text: str, wanted: Wanted) -> None:
        self._text = text
        self._wanted = wanted
        self._levels: List[_Level] = []
        self._places: List[Optional[_Place]] = []
        self._end = 0

    def places(self) -> List[_Place]:
        for event in _events(self._text):
            kind = type(event).__name__
            if kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._open(event, is_list=kind == "SequenceStartEvent")
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self._close(event)
            elif kind == "AliasEvent":
                self._leaf(event.start_mark.index, event.end_mark.index, "*", event)
            elif kind == "ScalarEvent":
                self._scalar(event)
        return [place for place in self._places if place is not None]

    def _open(self, event: Any, *, is_list: bool) -> None:
        if len(self._levels) >= MAX_DEPTH:
            raise FileMalformed(f"not well-formed YAML: nested deeper than {MAX_DEPTH}", event.start_mark.line + 1)
        path = self._next("", is_leaf=False)
        start = self._after_properties(event.start_mark.index)
        self._places.append(None)
        level = _Level(path, is_list, not event.flow_style, start, self._wanted.name(path), len(self._places) - 1)
        self._levels.append(level)

    def _close(self, event: Any) -> None:
        level = self._levels.pop()
        # A block ends with its last value: its own end lies behind the comments that follow it.
        self._end = self._end if level.is_block else event.end_mark.index
        if level.name is not None:
            kind = "[" if level.is_list else "{"
            # A list may stand as far left as its key, another value may not.
            before = "  " if level.is_block and level.is_list else ""
            self._places[level.slot] = _Place(level.name, level.start, self._end, kind, before=before)

    def _scalar(self, event: Any) -> None:
        start, stop = event.start_mark.index, event.end_mark.index
        if not event.value and not event.style and self._levels:
            self._empty(event)
            return
        start = min(self._after_properties(start), stop)
        if event.style in ("|", ">"):
            stop = start + len(self._text[start:stop].rstrip(" \t\r\n"))
        self._leaf(start, stop, event.style or "", event)

    def _leaf(self, start: int, stop: int, kind: str, event: Any) -> None:
        value = getattr(event, "value", None) or ""
        name = self._wanted.name(self._next(value, is_leaf=True))
        self._end = stop
        if self._levels:
            self._levels[-1].key_stop = stop
        if name is not None:
            has_tag = getattr(event, "ctag", None) is not None
            self._places.append(_Place(name, start, stop, kind, value, has_tag))

    def _empty(self, event: Any) -> None:
        """Nothing, which stands behind the sign that announces a value; in `{key}` there is none."""
        level = self._levels[-1]
        name = self._wanted.name(self._next("", is_leaf=True))
        sign = re.compile("-" if level.is_list else "[ \t]*:")
        found = sign.match(self._text, event.start_mark.index - 1 if level.is_list else level.key_stop)
        if found is None or event.anchor is not None or event.ctag is not None:
            return
        self._end = found.end()
        if name is not None:
            self._places.append(_Place(name, found.end(), found.end(), "", before=" "))

    def _next(self, value: str, *, is_leaf: bool) -> Optional[str]:
        """The path of the node that comes now; None for a key."""
        if not self._levels:
            return ""
        level = self._levels[-1]
        if level.is_list:
            level.count += 1
            return self._wanted.path(level.path, str(level.count - 1))
        level.at_value = not level.at_value
        if level.at_value:
            level.key = self._wanted.path(level.path, value) if is_leaf else None
            return None
        return level.key

    def _after_properties(self, at: int) -> int:
        """Where a value begins behind its anchor and tag."""
        found = _PROPERTY.match(self._text, at)
        while found is not None:
            at = found.end()
            found = _PROPERTY.match(self._text, at)
        return at


def _events(text: str) -> Iterator[Any]:
    # Late: nothing but a YAML file needs it, and it takes longer than all the rest of the runner.
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.parser import Parser
    from ruamel.yaml.reader import Reader
    from ruamel.yaml.resolver import VersionedResolver
    from ruamel.yaml.scanner import Scanner

    class Loader(Reader, Scanner, Parser, VersionedResolver):
        def __init__(self) -> None:
            self.comment_handling = None
            Reader.__init__(self, text, loader=self)
            Scanner.__init__(self, loader=self)
            Parser.__init__(self, loader=self)
            VersionedResolver.__init__(self, None, loader=self)

    try:
        loader = Loader()
        while loader.check_event():
            yield loader.get_event()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(filter(None, (error.context, error.problem)))
        raise FileMalformed(f"not well-formed YAML: {told}", mark.line + 1 if mark else 0) from error
    except (YAMLError, ValueError, IndexError, OverflowError) as error:
        told = " ".join(str(getattr(error, "reason", error)).split())
        at = getattr(error, "position", None)
        line = line_of(text, at) if isinstance(at, int) else 0
        raise FileMalformed(f"not well-formed YAML: {told}", line) from error


def _written(value: str, place: _Place, text: str) -> str:
    """The new value as YAML, of the old one's type and style as far as it can be."""
    if place.kind in ("[", "{"):
        new = read_json(value)
        is_like = isinstance(new, list if place.kind == "[" else dict)
        return place.before + (_flow(value) if is_like else _quoted(value))
    if place.kind in ("|", ">"):
        return _block(value, text[place.start : place.stop])
    if place.kind == '"':
        return _quoted(value)
    if place.kind == "'":
        return _single(value)
    return place.before + (_typed(value.strip(), place) or _plain(value))


def _typed(value: str, place: _Place) -> str:
    """A number, truth value or null in the place of such; empty where the new one is none."""
    if place.kind == "*" or place.has_tag:
        return ""
    if _NUMBER.match(place.text):
        return value if _NUMBER.match(value) else ""
    word = value.lower() if value.lower() in ("true", "false", "null") else value
    if _TRUTH.match(place.text):
        return word if _TRUTH.match(word) else ""
    if not _NULL.match(place.text):
        return ""
    new = read_json(word)
    return "" if new is NOTHING or isinstance(new, str) else _flow(word)


def _flow(value: str) -> str:
    """JSON on one line, which YAML is a superset of."""
    return _UNSAID.sub(_escape, " ".join(value.split("\n"))).replace("\r", " ").strip()


def _plain(value: str) -> str:
    """A text without quotes, where all readers take it for that."""
    bare = _PLAIN_INSIDE.sub("", value)
    is_plain = value == value.strip() and value[:1] == bare[:1] and _PLAIN.match(bare) is not None
    is_odd = any(pattern.match(value) for pattern in (_NUMBER, _TRUTH, _NULL, _ODD))
    return value if is_plain and not is_odd else _quoted(value)


def _single(value: str) -> str:
    return _quoted(value) if _UNQUOTABLE.search(value) else "'" + value.replace("'", "''") + "'"


def _quoted(value: str) -> str:
    return _UNSAID.sub(_escape, json.dumps(value, ensure_ascii=False))


def _escape(found: Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def _block(value: str, old: str) -> str:
    """In the place of a block: a block with the same indentation, where its lines can stand in one."""
    header, _, body = old.partition("\n")
    first = next((line for line in body.split("\n") if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip(" "))]
    content = value.removesuffix("\n")
    lines = content.split("\n")
    can_stand = indent and content.strip() == content != "" and not re.match(r".[-+]?\d", header)
    if not can_stand or any(_UNQUOTABLE.search(line.replace("\t", "")) for line in lines):
        return _quoted(value)
    end = "\r\n" if header.endswith("\r") else "\n"
    comment = header[1:].lstrip("+-").rstrip("\r")
    style = old[0] if len(lines) == 1 else "|"
    chomping = "" if value.endswith("\n") else "-"
    return f"{style}{chomping}{comment}{end}" + end.join(indent + line if line else "" for line in lines)


FORMAT = FileFormat(name="YAML", has_name=_has_name, has_look=_has_look, replace=_replace)
