"""PURE. Which names an archive's entries may have, on every system that a package may travel to."""

from __future__ import annotations

import re
import unicodedata
from typing import Dict, Tuple

from runner.contract.errors import ArchiveRefused, shown

COMPONENT_MAX_BYTES = 255
DEPTH_MAX = 32
# Files and folders, those included that only stand above an entry.
PLACES_MAX = 100_000
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
    # A loop over signs is slow, and most names are of these.
    is_plain = part.isascii() and part.isprintable()
    if not is_plain and any(c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in part):
        raise ArchiveRefused("ARC_NAME", f"an entry's name holds control characters: {shown(name)}")
    if len(part.encode("utf-8")) > COMPONENT_MAX_BYTES:
        raise ArchiveRefused(
            "ARC_NAME", f"a part of an entry's name has over {COMPONENT_MAX_BYTES} bytes: {shown(name)}"
        )
    if part[-1] in ". " or part.split(".", maxsplit=1)[0].rstrip().casefold() in _RESERVED:
        raise ArchiveRefused("ARC_NAME", f"Windows cannot hold the name {shown(name)}")


class NamesSeen:
    """Refuses a second entry that some file system would put in the same place.

    A place is known by the number of its folder and by its own name, folded: so a path of many folders takes no more
    than one entry for each that is new.
    """

    def __init__(self, most: int = PLACES_MAX) -> None:
        self._most = most
        # number << 2 | is a folder << 1 | is an entry of its own
        self._places: Dict[str, int] = {}
        self._spelled: Dict[str, str] = {}
        # Entries come folder by folder: that of the last one is looked up once.
        self._folder: Tuple[str, ...] = ()
        self._folder_number = 0

    def add(self, parts: Tuple[str, ...], *, is_directory: bool) -> None:
        *above, name = parts
        folder = tuple(above)
        if folder != self._folder:
            number = 0
            for depth, part in enumerate(folder):
                number = self._note(number, part, folder[: depth + 1], is_directory=True, is_entry=False)
            self._folder, self._folder_number = folder, number
        self._note(self._folder_number, name, parts, is_directory=is_directory, is_entry=True)

    def _note(self, folder: int, part: str, parts: Tuple[str, ...], *, is_directory: bool, is_entry: bool) -> int:
        folded = _folded(part)
        key = f"{folder}/{folded}"
        known = self._places.get(key)
        if known is None:
            if len(self._places) >= self._most:
                raise ArchiveRefused("ARC_BOMB", f"over {self._most} files and folders, those above entries included")
            number = len(self._places) + 1
            if part != folded:
                self._spelled[key] = part
            self._places[key] = number << 2 | is_directory << 1 | is_entry
            return number
        spelled = self._spelled.get(key, folded)
        if spelled != part or bool(known & 2) != is_directory or (known & 1 and is_entry):
            names = f"{shown('/'.join((*parts[:-1], spelled)))} and {shown('/'.join(parts))}"
            raise ArchiveRefused("ARC_DUP", f"two entries want the same place: {names}")
        self._places[key] = known | is_entry
        return known >> 2


def _folded(part: str) -> str:
    if part.isascii():
        return part.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())
