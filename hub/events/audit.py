"""Verifying the audit log offline, from the rows or from an exported file: recompute all of it, name the first bad row.

What it finds: an altered, deleted, inserted or exchanged event; columns that say something else than their event; an
end that was cut off; a checkpoint that does not fit or that somebody else signed; and, with the database at hand,
sealed rows that are older than the newest event about them. What it cannot find: events newer than the last checkpoint
that were removed together with the head row (60 seconds of them at most).
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hub.errors import AuditBroken, Invalid
from hub.events.checkpoint import ChainPoint, open_checkpoint
from hub.events.record import COLUMNS, GENESIS, chain_hash
from hub.storage.models import ALL_TABLES, ChainHead, Checkpoint, Event
from hub.storage.models.table import SealedTable, canonical_json
from hub.storage.seals import seal_sha256
from wire.keys import VerifyKey

_FORMAT = "manyarm-audit-1"
_LINE_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChainedRow:
    """An event as far as the chain goes; columns only where they were read from the table."""

    seq: int
    encoded: bytes
    hash: bytes
    columns: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where the log must end, where that is known."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditLog:
    """All that there is to verify."""

    rows: Iterable[ChainedRow]
    checkpoints: Iterable[str]
    hub_id: str
    keys: tuple[VerifyKey, ...]
    end: ChainEnd | None = None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """`first_bad_seq` is the number where the log stops being what was written; `stale` names rolled-back rows."""

    ok: bool
    events: int = 0
    first_bad_seq: int | None = None
    reason: str = ""
    code: str = ""
    stale: tuple[str, ...] = ()


class _Bad(Exception):
    def __init__(self, seq: int, reason: str, code: str = "AUDIT_CHAIN") -> None:
        super().__init__(reason)
        self.seq, self.reason, self.code = seq, reason, code


def verify(log: AuditLog) -> VerifyResult:
    """Recompute the chain and hold the checkpoints against it."""
    count = 0
    try:
        points = _points(log)
        last = ChainEnd(0, GENESIS)
        for row in log.rows:
            last = _step(last, row)
            _compare_point(points.pop(row.seq, None), last)
            count += 1
        if log.end is not None and (log.end.seq, log.end.hash) != (last.seq, last.hash):
            raise _Bad(last.seq + 1, f"events are missing: the log ends at {last.seq}, its head says {log.end.seq}")
        if points:
            raise _Bad(last.seq + 1, f"events are missing: the log ends at {last.seq}, a checkpoint says {max(points)}")
    except _Bad as bad:
        return VerifyResult(False, count, bad.seq, bad.reason, bad.code)
    return VerifyResult(True, count)


def verify_database(hub_id: str, keys: Iterable[VerifyKey]) -> VerifyResult:
    """`verify` over the tables, and whether any sealed row was put back to an older state."""
    head = ChainHead.select().where(ChainHead.id == 1).first()
    end = ChainEnd(head.seq, bytes(head.hash)) if head is not None else ChainEnd(0, GENESIS)
    notes = (row.text for row in Checkpoint.select(Checkpoint.text).order_by(Checkpoint.seq))
    found = verify(AuditLog(_stored_rows(), notes, hub_id, tuple(keys), end))
    if not found.ok:
        return found
    stale = tuple(_rolled_back())
    if not stale:
        return found
    reason = "sealed rows are not as the newest event about them says"
    return VerifyResult(False, found.events, None, reason, "TRUST_MAC", stale)


def export(destination: TextIO, hub_id: str, keys: Iterable[VerifyKey]) -> int:
    """Write the log as JSON lines that `verify_file` reads on any machine; the number of events."""
    head = {"format": _FORMAT, "hub": hub_id, "keys": [key.pk.hex() for key in keys]}
    destination.write(canonical_json(head) + "\n")
    count = 0
    for row in _stored_rows():
        entry = {"seq": row.seq, "bytes": _to_text(row.encoded), "hash": row.hash.hex()}
        destination.write(canonical_json(entry) + "\n")
        count += 1
    notes = Checkpoint.select(Checkpoint.text).order_by(Checkpoint.seq)
    destination.writelines(canonical_json({"checkpoint": note.text}) + "\n" for note in notes)
    return count


def verify_file(path: Path, keys: Iterable[VerifyKey] = ()) -> VerifyResult:
    """`verify` over an exported file.

    Args:
        path: What `export` wrote.
        keys: The hub-audit keys as known from elsewhere; without them the file's own are taken, and then a file that
            was rewritten from end to end verifies.
    """
    with path.open(encoding="utf-8") as file:
        head = _entry(file.readline(_LINE_MAX), 1)
        if head.get("format") != _FORMAT:
            raise Invalid(f"{path}: it is no exported audit log")
        notes = [entry["checkpoint"] for entry in _entries(file) if "checkpoint" in entry]
        file.seek(0)
        file.readline(_LINE_MAX)
        known = tuple(keys) or tuple(VerifyKey.of(bytes.fromhex(pk)) for pk in head["keys"])
        return verify(AuditLog(_file_rows(file), notes, head["hub"], known))


def _points(log: AuditLog) -> dict[int, ChainPoint]:
    points: dict[int, ChainPoint] = {}
    for note in log.checkpoints:
        try:
            point = open_checkpoint(note, log.hub_id, log.keys)
        except AuditBroken as error:
            raise _Bad(0, error.detail, "AUDIT_SIG") from error
        points[point.seq] = point
    return points


def _step(last: ChainEnd, row: ChainedRow) -> ChainEnd:
    expected = last.seq + 1
    if row.seq != expected:
        raise _Bad(expected, f"event {expected} is missing or out of place: {row.seq} stands there")
    hashed = chain_hash(last.hash, row.seq, row.encoded)
    if hashed != row.hash:
        raise _Bad(row.seq, f"event {row.seq} was altered, or one before it was removed")
    if row.columns is not None:
        _compare_columns(row)
    return ChainEnd(row.seq, hashed)


def _compare_columns(row: ChainedRow) -> None:
    content = json.loads(row.encoded)
    for name, value in (row.columns or {}).items():
        if content.get(name) != value:
            raise _Bad(row.seq, f"event {row.seq}: its column {name} says something else than its bytes")


def _compare_point(point: ChainPoint | None, last: ChainEnd) -> None:
    if point is not None and point.hash != last.hash:
        raise _Bad(last.seq, f"event {last.seq} is not the one that the checkpoint signed")


def _stored_rows() -> Iterator[ChainedRow]:
    fields = [Event.seq, Event.bytes, Event.hash, *(getattr(Event, name) for name in COLUMNS)]
    for seq, content, hashed, *columns in Event.select(*fields).order_by(Event.seq).tuples().iterator():
        yield ChainedRow(seq, bytes(content), bytes(hashed), dict(zip(COLUMNS, columns, strict=True)))


def _rolled_back() -> Iterator[str]:
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for (content,) in Event.select(Event.bytes).order_by(Event.seq).tuples().iterator():
        if b'"sealed"' not in bytes(content):
            continue
        for table, row_id, version, digest in json.loads(bytes(content))["detail"].get("sealed", []):
            newest[table, row_id] = (version, digest)
    for model in ALL_TABLES:
        if not issubclass(model, SealedTable):
            continue
        for row in model.select().iterator():
            known = newest.get((row.table_name(), row.sealed_id()))
            if known is None:
                yield f"{row.table_name()} {row.sealed_id()}: no event speaks of it"
            elif known != (row.sealed_version(), seal_sha256(row.seal or "")):
                yield f"{row.table_name()} {row.sealed_id()}: the log knows it as version {known[0]} with another seal"


def _entries(file: TextIO) -> Iterator[dict[str, Any]]:
    number = 1
    while line := file.readline(_LINE_MAX):
        number += 1
        yield _entry(line, number)


def _file_rows(file: TextIO) -> Iterator[ChainedRow]:
    for number, entry in enumerate(_entries(file), 2):
        if "checkpoint" in entry:
            continue
        try:
            content = base64.b64decode(entry["bytes"], validate=True)
            yield ChainedRow(int(entry["seq"]), content, bytes.fromhex(entry["hash"]))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise Invalid(f"line {number}: expected seq, bytes and hash of an event") from error


def _entry(line: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise Invalid(f"line {number}: expected JSON") from error
    if not isinstance(entry, dict):
        raise Invalid(f"line {number}: expected a JSON object")
    return entry


def _to_text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
