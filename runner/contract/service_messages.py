"""What a script may say to its supervisor, and the two ways in which it says it.

Over the descriptor in MANYARM_FD: `u32be length | JSON object`, answered in the same form (`{"ok": …}`).
Where a shell has no descriptors: one line `##manyarm[<32 hex run token>] {json}` on standard output, not answered.
The object is `{"do": verb, …}` with the fields of that verb, from a closed table; `"reply": "text"` asks for
an answer that a shell can read.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

from runner.contract.errors import JobMalformed, MessageRefused, shown
from runner.contract.fields import parse_object

VALUE_MAX_BYTES = 64 * 1024
MESSAGES_MAX = 1_000
# What fits, written as JSON, into the one message that brings the result to the hub.
OUTPUTS_MAX_CHARS = 512 * 1024
FRAME_MAX_BYTES = 8 * VALUE_MAX_BYTES
OUTPUT_NAME = re.compile(r"[A-Za-z][\w.-]{0,63}\Z", re.ASCII)
LINE_START = b"##manyarm["
_TYPE_NAMES = {int: "a whole number", bool: "true or false", str: "a text"}
_LENGTH = struct.Struct(">I")

# Every verb with its fields: name -> (type, default); a default of None means that the field must be there.
VERBS: Mapping[str, Mapping[str, Tuple[type, Any]]] = {
    "get_variable": {"name": (str, None)},
    "set_variable": {"name": (str, None), "value": (str, None), "secret": (bool, False)},
    "new_artifact": {"path": (str, None), "name": (str, "")},
    "progress": {"percent": (int, None), "message": (str, "")},
    "warn": {"message": (str, None)},
    "fail": {"message": (str, None)},
}


@dataclass(frozen=True)
class ServiceMessage:
    r"""`wants_text` asks for the answer that shells can read: `ok <bytes>\n<text>` or `error <bytes>\n<sentence>`."""

    verb: str
    fields: Dict[str, Any]
    wants_text: bool = False


def parse_message(data: bytes) -> ServiceMessage:
    """The message in one JSON object.

    Raises:
        MessageRefused: not JSON, an unknown verb or field, a wrong type, a bad name, or over a limit.
    """
    if len(data) > FRAME_MAX_BYTES:
        raise MessageRefused(f"a service message has at most {FRAME_MAX_BYTES} bytes")
    try:
        value = parse_object(data)
    except JobMalformed as error:
        raise MessageRefused(_why_no_message(error)) from error
    verb = value.pop("do", None)
    if not isinstance(verb, str) or verb not in VERBS:
        raise MessageRefused(f"no service message is called {shown(str(verb))!r}")
    wants_text = value.pop("reply", "json") == "text"
    fields = {name: _field(verb, name, value) for name in VERBS[verb]}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise MessageRefused(f"{verb} takes no field {shown(unknown[0])!r}")
    if verb == "set_variable" and not OUTPUT_NAME.match(fields["name"]):
        raise MessageRefused(
            f"an output is named by a letter and up to 63 of A-Z a-z 0-9 _ . -, not {shown(fields['name'])!r}"
        )
    if verb == "progress" and not 0 <= fields["percent"] <= 100:
        raise MessageRefused("progress runs from 0 to 100")
    return ServiceMessage(verb, fields, wants_text)


def _field(verb: str, name: str, value: Mapping[str, Any]) -> Any:
    wanted, default = VERBS[verb][name]
    found = value.get(name, default)
    if not isinstance(found, wanted) or (wanted is int and isinstance(found, bool)):
        raise MessageRefused(f"{verb}: {name} must be {_TYPE_NAMES[wanted]}")
    if isinstance(found, str) and len(found.encode("utf-8")) > VALUE_MAX_BYTES:
        raise MessageRefused(f"{verb}: {name} has at most {VALUE_MAX_BYTES} bytes")
    # No shell can hold one, and no text column of PostgreSQL.
    if isinstance(found, str) and "\0" in found:
        raise MessageRefused(f"{verb}: {name} holds a NUL character, which no text of ours may")
    return found


def _why_no_message(error: JobMalformed) -> str:
    if isinstance(error.__cause__, UnicodeDecodeError):
        return "a service message is UTF-8 text; this one holds other bytes"
    if isinstance(error.__cause__, UnicodeEncodeError):
        return "a service message holds whole characters; this one has half of a surrogate pair"
    return "a service message is one JSON object"


def frame(data: bytes) -> bytes:
    """One message or answer as it goes over the descriptor."""
    return _LENGTH.pack(len(data)) + data


def take_frame(buffer: bytearray) -> bytes | None:
    """Take one whole frame off a buffer's front; None while it is not whole.

    Raises:
        MessageRefused: the announced length is over the limit.
    """
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if length > FRAME_MAX_BYTES:
        raise MessageRefused(f"a service message has at most {FRAME_MAX_BYTES} bytes, not {length}")
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    data = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return data
