"""A package's version: SemVer 2, or four numbers as .NET writes them; PURE.

    1.4.2   1.4.2-beta.3   1.4.2+build.7   2026.11.23.1   2026.11.23.1-rc

Order is SemVer's: numbers as numbers, a pre-release before its release, build metadata without weight.
A fourth number that is missing counts as 0.
"""

import re
from dataclasses import dataclass
from functools import total_ordering

# NuGet has the same limit; the sort key of a version this long still fits its column.
MAX_LENGTH = 64
# Ten digits hold any date or build counter, and keep the sort key short.
_NUMBER = r"(?:0|[1-9][0-9]{0,9})"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"({_NUMBER}(?:\.{_NUMBER}){{2,3}})(?:-({_IDENTIFIERS}))?(?:\+({_IDENTIFIERS}))?", re.ASCII)
_LEADING_ZERO = re.compile(r"(?:^|\.)(0[0-9]+)(?:[.+-]|$)", re.ASCII)


class VersionError(ValueError):
    """The text is no version; the message says what was found."""


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """Equal when neither comes before the other: 1.0.0, 1.0.0.0 and 1.0.0+linux are one version."""

    text: str
    numbers: tuple[int, ...]
    prerelease: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read a version.

        Raises:
            VersionError: it is neither SemVer 2 nor four-part.
        """
        if len(text) > MAX_LENGTH:
            raise VersionError(f"a version is at most {MAX_LENGTH} characters long; this one has {len(text)}")
        match = _VERSION.fullmatch(text)
        if match is None:
            raise VersionError(_what_is_wrong(text))
        numbers, prerelease, _ = match.groups()
        identifiers = tuple(prerelease.split(".")) if prerelease else ()
        for identifier in identifiers:
            if identifier.isdigit() and len(identifier) > 1 and identifier.startswith("0"):
                raise VersionError(_leading_zero(text, identifier))
        return cls(text, tuple(int(number) for number in numbers.split(".")), identifiers)

    @property
    def is_prerelease(self) -> bool:
        return bool(self.prerelease)

    @property
    def sort_key(self) -> str:
        """Hexadecimal text that any database puts in the order of versions, whatever its collation."""
        numbers = (*self.numbers, 0)[:4]
        key = "".join(_number_key(number) for number in numbers)
        if not self.prerelease:
            return (key + "~").encode("ascii").hex()
        # "!" stands below every letter, digit and hyphen, so a shorter list comes before a longer one.
        return (key + "".join(_identifier_key(part) + "!" for part in self.prerelease)).encode("ascii").hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.sort_key == other.sort_key

    def __lt__(self, other: "Version") -> bool:
        return self.sort_key < other.sort_key

    def __hash__(self) -> int:
        return hash(self.sort_key)

    def __str__(self) -> str:
        return self.text


def _number_key(number: int) -> str:
    digits = str(number)
    return f"{len(digits):02d}{digits}"


def _identifier_key(identifier: str) -> str:
    # Numbers come before words; a longer number (without leading zeros) is the larger one.
    return f"0{len(identifier):02d}{identifier}" if identifier.isdigit() else f"1{identifier}"


def _what_is_wrong(text: str) -> str:
    shown = ascii(text[:40])
    zero = _LEADING_ZERO.search(text)
    if zero is not None:
        return _leading_zero(text, zero.group(1))
    if re.fullmatch(r"[vV][0-9].*", text):
        return f"{shown} is no version: leave the leading {text[0]!r} away"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?([-+].*)?", text, re.ASCII):
        return f"{shown} is no version: it needs three or four numbers, such as 1.4.0"
    return f"{shown} is no version: expected SemVer 2 (1.4.2, 1.4.2-beta.1) or four numbers (1.4.2.0)"


def _leading_zero(text: str, part: str) -> str:
    return f"{text[:40]!a} is no version: {part[:40]!r} has a leading zero; write {part.lstrip('0')[:40] or '0'!r}"
