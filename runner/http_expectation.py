"""What an answer over HTTP must be, and what is wrong with one that is not so; each fault is one sentence."""

from __future__ import annotations

import codecs
import json
import re
import time
from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

from runner.errors import NoGoodAnswer, StepFailed
from runner.filters.call import Refused
from runner.filters.pattern import Pattern
from runner.http_exchange import BODY_MAX_BYTES, Answer

_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16"})
_STATUS = re.compile(r"([1-9][0-9]{2})(?:\s*-\s*([1-9][0-9]{2}))?\Z", re.ASCII)
_BEGINNING_BYTES = 4096
_BEGINNING_S = 2.0
_PLACE = re.compile(r"(.+?)\s*=\s*(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Expectation:
    """Empty parts expect nothing.

    Args:
        statuses: Spans of codes, both ends included.
        text: Stands somewhere in the body.
        pattern: Fits somewhere in the body.
        values: Paths of a JSON body and what stands there.
    """

    statuses: Tuple[Tuple[int, int], ...]
    text: str = ""
    pattern: Pattern | None = None
    pattern_source: str = ""
    values: Tuple[Tuple[str, str], ...] = ()

    @property
    def needs_body(self) -> bool:
        return bool(self.text or self.pattern or self.values)

    def judge(self, answer: Answer, ends_at: float) -> None:
        """Reads the body where something is expected of it.

        Raises:
            NoGoodAnswer: the answer is not as expected, or cannot be read.
        """
        if not any(first <= answer.status <= last for first, last in self.statuses):
            raise NoGoodAnswer(self._status_fault(answer), _beginning(answer, ends_at))
        if not self.needs_body:
            return
        body = answer.body(BODY_MAX_BYTES, ends_at)
        fault = self._fault_of_body(answer, body, ends_at)
        if fault and len(body) == BODY_MAX_BYTES:
            fault += f" (its first {BODY_MAX_BYTES} bytes were looked at)"
        if fault:
            raise NoGoodAnswer(fault, body)

    def _status_fault(self, answer: Answer) -> str:
        spans = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.statuses)
        goal = answer.headers.get("Location", "")
        sent = f" to {goal}" if 300 <= answer.status < 400 and goal else ""
        return f"status {answer.status} {answer.reason}".rstrip() + f"{sent}, expected {spans}"

    def _fault_of_body(self, answer: Answer, body: bytes, ends_at: float) -> str:
        packing = answer.headers.get("Content-Encoding", "identity")
        if packing.strip().lower() != "identity":
            return f"the body comes packed ({packing}), though nobody asked for that"
        text = body_text(answer, body)
        if self.text and self.text not in text:
            return f"the body does not hold {self.text!r}"
        if self.pattern is not None and not _fits(self.pattern, text, ends_at):
            return f"the body does not match {self.pattern_source!r}"
        return _fault_of_values(self.values, text) if self.values else ""


def _beginning(answer: Answer, ends_at: float) -> bytes:
    """What a refusal says for itself, as far as it says so soon."""
    try:
        return answer.body(_BEGINNING_BYTES, min(ends_at, time.monotonic() + _BEGINNING_S))
    except NoGoodAnswer as error:
        return error.read


def expectation_of(statuses: Sequence[str], text: str, pattern: str, values: Sequence[str]) -> Expectation:
    """An expectation as its author wrote it.

    Raises:
        StepFailed: a part of it cannot be read; the sentence names it.
    """
    try:
        compiled = Pattern(pattern) if pattern else None
    except Refused as error:
        raise StepFailed(f"expect_pattern cannot be read: {error}") from error
    return Expectation(
        statuses=tuple(map(_span, statuses)),
        text=text,
        pattern=compiled,
        pattern_source=pattern,
        values=tuple(map(_place_and_value, values)),
    )


def _span(text: str) -> Tuple[int, int]:
    found = _STATUS.match(text.strip())
    first, last = (int(found.group(1)), int(found.group(2) or found.group(1))) if found else (1, 0)
    if first > last:
        raise StepFailed(f"expect_status takes codes and spans such as '200-299', not {text!r}")
    return first, last


def _place_and_value(text: str) -> Tuple[str, str]:
    found = _PLACE.match(text.strip())
    if not found:
        raise StepFailed(f"expect_json takes `PATH = VALUE`, not {text!r}")
    return found.group(1), found.group(2)


def body_text(answer: Answer, body: bytes) -> str:
    """A body as text; what is no text shows as such."""
    charset = (answer.headers.get_content_charset() or "utf-8") if answer.headers else "utf-8"
    if body.startswith(codecs.BOM_UTF8):
        return body[len(codecs.BOM_UTF8) :].decode("utf-8", "replace")
    return body.decode(charset if charset in _CHARSETS else "utf-8", "replace")


def _fits(pattern: Pattern, text: str, ends_at: float) -> bool:
    def spend(_steps: int) -> None:
        if time.monotonic() > ends_at:
            raise NoGoodAnswer("the pattern took longer than there was time")

    if pattern.literal is not None:
        return pattern.literal in text
    return pattern.search(text, 0, spend) is not None


def _fault_of_values(values: Sequence[Tuple[str, str]], text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "the body is no JSON"
    for path, expected in values:
        found = _at(document, path.split(":"))
        if found is _MISSING:
            return f"the body has no value at {path}"
        written = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        if written != expected:
            return f"{path} is {written!r}, expected {expected!r}"
    return ""


_MISSING = object()


def _at(value: Any, names: List[str]) -> Any:
    for name in names:
        if isinstance(value, dict):
            key = name if name in value else next((key for key in value if key.casefold() == name.casefold()), None)
            value = _MISSING if key is None else value[key]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(value):
            value = value[int(name[:9])]
        else:
            return _MISSING
    return value
