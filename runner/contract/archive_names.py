"""PURE. Which names an archive's entries may have, on every system that a package may travel to."""

from __future__ import annotations

import re
import unicodedata
from typing import Dict, Tuple

from runner.contract.errors import ArchiveRefused, shown

COMPONENT_MAX_BYTES = 255
DEPTH_MAX = 32
_DRIVE = re.compile(r"[A-Za-z]:")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in "123456789¹²³"]
)


def decode_name(raw: bytes) -> str:
    """The name in an entry's header, which must be UTF-8 in its shortest form."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveRefused("ARC_PATH", f"an entry's name is not UTF-8: {shown(raw.decode('latin-1'))}") from error


def checked_parts(name: str) -> Tuple[str, ...]:
    """The components of an entry's name; empty for the root itself (`./`).

    Raises:
        ArchiveRefused: ARC_PATH where the name leads outside, ARC_NAME where some system could not hold it.
    """
    if "\\" in name or name.startswith("/") or _DRIVE.match(name):
        raise ArchiveRefused("ARC_PATH", f"an entry's name must be relative, with '/' between parts: {shown(name)}")
    if not name:
        raise ArchiveRefused("ARC_PATH", "an entry has no name")
    relative = name.removeprefix("./")
    relative = relative.removesuffix("/")
    if relative in ("", "."):
        return ()
    parts = tuple(relative.split("/"))
    if len(parts) > DEPTH_MAX:
        raise ArchiveRefused("ARC_NAME", f"an entry lies {len(parts)} folders deep, at most {DEPTH_MAX}: {shown(name)}")
    for part in parts:
        _check_part(part, name)
    return parts


def _check_part(part: str, name: str) -> None:
    if part in ("", ".", ".."):
        raise ArchiveRefused("ARC_PATH", f"an entry's name has the part {part!r}: {shown(name)}")
    if any(c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in part):
        raise ArchiveRefused("ARC_NAME", f"an entry's name holds control characters: {shown(name)}")
    if len(part.encode("utf-8")) > COMPONENT_MAX_BYTES:
        raise ArchiveRefused(
            "ARC_NAME", f"a part of an entry's name has over {COMPONENT_MAX_BYTES} bytes: {shown(name)}"
        )
    if part[-1] in ". " or part.split(".", maxsplit=1)[0].rstrip().casefold() in _RESERVED:
        raise ArchiveRefused("ARC_NAME", f"Windows cannot hold the name {shown(name)}")


class NamesSeen:
    """Refuses a second entry that some file system would put in the same place."""

    def __init__(self) -> None:
        self._seen: Dict[Tuple[str, ...], Tuple[Tuple[str, ...], bool, bool]] = {}

    def add(self, parts: Tuple[str, ...], *, is_directory: bool) -> None:
        for depth in range(1, len(parts)):
            self._note(parts[:depth], is_directory=True, is_entry=False)
        self._note(parts, is_directory=is_directory, is_entry=True)

    def _note(self, parts: Tuple[str, ...], *, is_directory: bool, is_entry: bool) -> None:
        key = tuple(unicodedata.normalize("NFC", unicodedata.normalize("NFC", p).casefold()) for p in parts)
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = (parts, is_directory, is_entry)
            return
        known_parts, known_directory, known_entry = known
        if known_parts != parts or known_directory != is_directory or (known_entry and is_entry):
            names = f"{shown('/'.join(known_parts))} and {shown('/'.join(parts))}"
            raise ArchiveRefused("ARC_DUP", f"two entries want the same place: {names}")
        self._seen[key] = (parts, is_directory, known_entry or is_entry)
