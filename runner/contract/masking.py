"""PURE. Masking: no byte of a known secret, in any common encoding, leaves the supervisor.

A stream is masked in bulk: every pattern is looked for with `in`, and only where one hits are its places cut out. What
is held back between two reads is the longest suffix that is a proper prefix of some pattern, never a fixed tail: output
flows at once, and no half of a secret slips out on an idle flush. The result is the same for every way of cutting the
stream. Masking prevents accidents; a script that wants to leak its own secrets can.
"""

from __future__ import annotations

import json
import re
from typing import Dict, FrozenSet, Iterable, Iterator, List, Set, Tuple

MASK = b"***"
SECRET_MIN_CHARS = 4
LINE_MIN_CHARS = 8
_HEAD = 4
# Up to so many patterns are looked for one by one, which the C library does faster than we do all at once.
_MANY = 200
_WRAPS = (64, 70, 76)
# fmt: off
_COMMON = frozenset((
    "0000", "1234", "12345", "admin", "changeme", "default", "false", "guest", "localhost", "none", "null",
    "passwort", "password", "root", "secret", "test", "true", "user",
))
# fmt: on
_SECRET_WORDS = ("key", "secret", "token", "password")


def weakness(secret: str) -> str:
    """Why a value cannot be masked without shredding the log, in words; empty where it can."""
    if not secret.strip():
        return "is empty"
    if len(secret) < SECRET_MIN_CHARS:
        return f"has fewer than {SECRET_MIN_CHARS} characters"
    if secret.strip().casefold() in _COMMON:
        return "is a word that any log may hold"
    return ""


def patterns(secret: str) -> FrozenSet[bytes]:
    """Every form of a secret that is looked for; none where the secret is weak."""
    found: Set[bytes] = set()
    for piece in _pieces(secret):
        if not weakness(piece):
            found.update(_encodings(piece))
    return frozenset(pattern for pattern in found if len(pattern) >= SECRET_MIN_CHARS)


class Patterns:
    """The patterns of one run, shared by its streams; a secret made at run time joins at once."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: Set[bytes] = set()
        # By their first bytes, so that a text is looked through once, however many there are.
        self._heads: Dict[bytes, Tuple[bytes, ...]] = {}
        self._starts: Set[bytes] = set()
        self._longest = 0
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        for secret in secrets:
            for pattern in patterns(secret):
                self._add(pattern)

    def add_as_it_stands(self, text: str) -> None:
        """A text of which no other form counts, such as the token of a run, which is worth nothing after it."""
        self._add(text.encode("utf-8"))

    def _add(self, pattern: bytes) -> None:
        if pattern in self._known:
            return
        self._known.add(pattern)
        head = pattern[:_HEAD]
        self._heads[head] = (*self._heads.get(head, ()), pattern)
        self._starts.update(pattern[:length] for length in range(1, _HEAD))
        self._longest = max(self._longest, len(pattern))

    def places(self, data: bytes) -> List[Tuple[int, int]]:
        """Start and end of every occurrence, overlapping ones too, in no order."""
        if len(self._known) > _MANY:
            heads = self._heads
            found = [at for at in range(len(data) - _HEAD + 1) if data[at : at + _HEAD] in heads]
            return [
                (at, at + len(pattern))
                for at in found
                for pattern in heads[data[at : at + _HEAD]]
                if data.startswith(pattern, at)
            ]
        return [(at, at + len(pattern)) for pattern in self._known if pattern in data for at in _all_of(pattern, data)]

    def unfinished(self, data: bytes) -> int:
        """Length of the longest suffix of `data` that is a proper prefix of some pattern."""
        window = data[-(self._longest - 1) :] if self._longest > 1 else b""
        size = len(window)
        for at in range(size - _HEAD + 1):
            owners = self._heads.get(window[at : at + _HEAD])
            if owners is not None:
                rest = window[at:]
                if any(len(rest) < len(owner) and owner.startswith(rest) for owner in owners):
                    return size - at
        return next(
            (length for length in range(min(_HEAD - 1, size), 0, -1) if window[size - length :] in self._starts), 0
        )


def _all_of(pattern: bytes, data: bytes) -> Iterator[int]:
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1)


class Masker:
    """Masks one stream; feed it as bytes arrive, flush it at the stream's end."""

    def __init__(self, secrets: Iterable[str] | Patterns = ()) -> None:
        self._patterns = secrets if isinstance(secrets, Patterns) else Patterns(secrets)
        self._held = b""
        self._covered = 0

    def feed(self, data: bytes) -> bytes:
        """The bytes that may go out now."""
        whole = self._held + data
        return self._release(whole, len(whole) - self._patterns.unfinished(whole))

    def flush(self) -> bytes:
        """What was held back; nothing more will come."""
        return self._release(self._held, len(self._held))

    def _release(self, whole: bytes, boundary: int) -> bytes:
        if boundary == 0:
            self._held = whole
            return b""
        places = self._patterns.places(whole)
        covered, self._covered = self._covered, 0
        self._held = whole[boundary:]
        if not places and not covered:
            return whole[:boundary]
        if covered:
            places.append((0, covered))
        out: List[bytes] = []
        at = 0
        for start, end in _merged(places):
            if start >= boundary:
                break
            out.append(whole[at:start])
            # The mask of a place that reached into the held bytes went out with the bytes before them.
            if not (covered and start == 0):
                out.append(MASK)
            at = min(end, boundary)
            self._covered = max(0, end - boundary)
        out.append(whole[at:boundary])
        return b"".join(out)


def mask_text(text: str, known: Patterns) -> str:
    """One whole text, masked."""
    masker = Masker(known)
    data = text.encode("utf-8", "surrogateescape")
    return (masker.feed(data) + masker.flush()).decode("utf-8", "replace")


def _merged(places: List[Tuple[int, int]]) -> Iterator[Tuple[int, int]]:
    """Overlapping places made one, in order."""
    places.sort()
    start, end = places[0]
    for next_start, next_end in places[1:]:
        if next_start < end:
            end = max(end, next_end)
            continue
        yield start, end
        start, end = next_start, next_end
    yield start, end


def _pieces(secret: str) -> Iterator[str]:
    """The secret, its lines, and for a key of many lines the same body joined and wrapped anew."""
    # Without the white space around it: a pattern that begins with a line's end would hold back every line.
    stripped = secret.strip()
    yield stripped
    yield from _secrets_inside(stripped)
    lines = [line.strip() for line in stripped.splitlines()]
    if len(lines) < 2:
        return
    yield from (line for line in lines if len(line) >= LINE_MIN_CHARS)
    body = "".join(line for line in lines if not line.startswith("-----"))
    for width in _WRAPS:
        yield from (piece for piece in _cut(body, width) if len(piece) >= LINE_MIN_CHARS)
    yield from (joint.join(lines) for joint in ("\n", "\r\n", "", " "))
    yield body


def _secrets_inside(text: str) -> Iterator[str]:
    """What a key file in JSON holds: programs take it out, and print it alone."""
    if not text.startswith("{"):
        return
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    for name, value in found.items():
        if isinstance(value, str) and any(word in name.casefold() for word in _SECRET_WORDS):
            yield from _pieces(value)


def _encodings(text: str) -> Iterator[bytes]:
    utf8 = text.encode("utf-8", "surrogateescape")
    little = text.encode("utf-16-le", "surrogatepass")
    yield from (utf8, little, text.encode("utf-16-be", "surrogatepass"), utf8[::-1])
    yield text[::-1].encode("utf-8", "surrogateescape")
    yield from (utf8.hex().encode(), utf8.hex().upper().encode())
    for raw in (utf8, little):
        for encoded in _base64_forms(raw):
            yield encoded
            yield encoded.translate(_URL_SAFE)
    for written in _written(text):
        yield written.encode("utf-8", "surrogateescape")


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _base64_forms(raw: bytes) -> Iterator[bytes]:
    """The characters that `raw` alone decides at each of three alignments, and the lines of a wrapped encoding."""
    import base64  # late: a job without secrets needs no encoding

    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw + bytes(2))
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        yield encoded[first:last]
        if before == 0:
            whole = encoded[:last].decode("ascii")
            for width in _WRAPS:
                if len(whole) > width:
                    yield from (line.encode("ascii") for line in _cut(whole, width) if len(line) >= LINE_MIN_CHARS)


def _written(text: str) -> Iterator[str]:
    """The forms in which programs write a text into URLs, JSON, HTML, shells and source code."""
    import html  # late: a job without secrets needs none of these
    import shlex  # late: the same
    from urllib.parse import quote, quote_plus  # late: the same

    for quoted in (
        quote(text, safe="", errors="surrogateescape"),
        quote(text, errors="surrogateescape"),
        quote_plus(text, errors="surrogateescape"),
    ):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found.group().lower(), quoted)
    for dumped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield dumped
        yield dumped.replace("/", "\\/")
    escaped = html.escape(text)
    yield escaped
    yield escaped.replace("&#x27;", "&#39;")
    yield escaped.replace("&#x27;", "&apos;")
    yield html.escape(text, quote=False)
    yield shlex.quote(text)[1:-1] if shlex.quote(text) != text else text
    yield text.replace("'", "'\\''")
    yield re.sub(r"([^\w@%+=:,./\n-])", r"\\\1", text)
    yield re.sub(r'(["\\$`])', r"\\\1", text)
    yield text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    yield text.replace("$", "$$")
    yield text.replace("%", "%%")
    yield text.replace('"', '""')
    yield text.replace("'", "''")
    yield repr(text)[1:-1]


def _cut(text: str, width: int) -> List[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]
