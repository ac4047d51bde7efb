"""Reads the first field of a multipart form and puts what it read back, so that an upload still streams.

--b CRLF Content-Disposition: form-data; name="csrf_token" CRLF CRLF <value> CRLF --b …the file, unread
"""

import re
from typing import Any

from flask import Request
from werkzeug.http import parse_options_header

_HEAD_BYTES = 2_048
_FIRST = re.compile(
    rb"\A(?:\r\n)?--(?P<boundary>[^\r\n]{1,200})\r\n"
    rb'Content-Disposition: form-data; name="(?P<name>[a-z_]{1,40})"\r\n\r\n'
    rb"(?P<value>[!-~]{0,200})\r\n--(?P=boundary)",
    re.IGNORECASE,
)


class _Rejoined:
    """A stream with its beginning put back."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            found: bytes = self._rest.read(size)
            return found
        if size < 0:
            head, self._head = self._head, b""
            return head + bytes(self._rest.read())
        head, self._head = self._head[:size], self._head[size:]
        return head


def first_field(asked: Request, name: str) -> str:
    """The value of the form's first field, if it has this name; else ""."""
    _, options = parse_options_header(asked.content_type or "")
    head = _read_head(asked.stream)
    asked.stream = _Rejoined(head, asked.stream)  # type: ignore[assignment]  # it reads like one
    found = _FIRST.match(head)
    if found is None or found["boundary"].decode("latin-1") != options.get("boundary"):
        return ""
    return found["value"].decode("ascii") if found["name"].decode("ascii") == name else ""


def _read_head(stream: Any) -> bytes:
    head = b""
    while len(head) < _HEAD_BYTES:
        piece = stream.read(_HEAD_BYTES - len(head))
        if not piece:
            break
        head += piece
    return head
