r"""One row says that something happened: written in the transaction of what it records, chained, numbered gap-free.

    h_n = SHA-256("manyarm/v1/audit\0" || h_(n-1) || u64 seq || u32 length || bytes)

Events wait in the transaction and are chained as its last act, so the lock of the chain's head is held for moments, and
always taken last: no two writers can wait for one another. Rows that were sealed in the transaction are named in its
event with their version and seal, by which `audit verify` finds a row that was rolled back with its seal.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.storage.database import Transaction, current_transaction, is_postgres
from hub.storage.models.table import canonical_json, database_proxy, now_ms

GENESIS = bytes(32)
SYSTEM = "system"
DETAIL_LIMIT = 16 * 1024  # Characters of JSON; what is longer is represented by its hash.
TEXT_LIMIT = 200
CLOCK_TOLERANCE_MS = 1_000  # Several processes write; their clocks' last millisecond is no news.

# The columns that repeat what stands in `bytes`.
COLUMNS = ("at", "actor", "actor_kid", "action", "object", "outcome", "project", "environment")

# Written by hand: this runs in every transaction, and building the same statements again took ten times as long.
_HEAD = "SELECT seq, hash, at FROM chain_head WHERE id = 1"
_NEW_HEAD = "INSERT INTO chain_head (seq, hash, at, id) VALUES (?, ?, ?, 1)"
_MOVE_HEAD = "UPDATE chain_head SET seq = ?, hash = ?, at = ? WHERE id = 1"
_INSERT = (
    "INSERT INTO event (seq, at, actor, actor_kid, action, object, outcome, project, environment, bytes, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class PendingEvent:
    action: str
    object: str
    actor: str
    actor_kid: str | None
    outcome: str
    project: str | None
    environment: str | None
    detail: Mapping[str, Any]
    at: int | None


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A row that was sealed in this transaction."""

    table: str
    row_id: str
    version: int
    seal_sha256: str


@dataclass(slots=True)
class _Chain:
    """The head as it moves along one transaction's events."""

    seq: int
    hash: bytes
    at: int
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, event: PendingEvent, at: int, sealed: list[SealedRow]) -> None:
        self.seq += 1
        content = _content(event, self.seq, at, event.detail, sealed)
        encoded = canonical_json(content).encode()
        if len(encoded) > DETAIL_LIMIT:
            content = _content(event, self.seq, at, _cut(event.detail), sealed)
            encoded = canonical_json(content).encode()
        self.hash = chain_hash(self.hash, self.seq, encoded)
        self.at = at
        self.rows.append((self.seq, *(content[name] for name in COLUMNS), encoded, self.hash))


def record(
    action: str,
    object: str,  # noqa: A002  The audit row's own word.
    *,
    actor: str,
    outcome: str = "ok",
    project: str | None = None,
    environment: str | None = None,
    detail: Mapping[str, Any] | None = None,
    actor_kid: str | None = None,
    at: int | None = None,
) -> None:
    """Say in the running `write_tx` that something happened; the row and its number come with the commit.

    Args:
        action: Subject and verb: `deployment.create`.
        object: `kind:id` of what it happened to.
        actor: `user:<id>`, `spoke:<id>`, or `system`.
        outcome: `ok`, `refused`, `failed`.
        project: Its id, where the event belongs to one.
        environment: Alike.
        detail: Ids, and hashes of sensitive values; never a secret.
        actor_kid: The key that verified, where one did.
        at: UTC milliseconds; the moment of the commit unless given.

    Raises:
        RuntimeError: outside of `write_tx`.
    """
    transaction = current_transaction()
    transaction.finish = _chain
    transaction.pending.append(
        PendingEvent(action, object, actor, actor_kid, outcome, project, environment, detail or {}, at)
    )


def note_sealed(row: SealedRow) -> None:
    """Name a freshly sealed row in this transaction's event."""
    transaction = current_transaction()
    transaction.finish = _chain
    transaction.pending.append(row)


def chain_hash(previous: bytes, seq: int, encoded: bytes) -> bytes:
    return hashlib.sha256(
        b"manyarm/v1/audit\0" + previous + seq.to_bytes(8, "big") + len(encoded).to_bytes(4, "big") + encoded
    ).digest()


def one_line(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text that stays in its cell: control, direction and line characters escaped, the rest cut at the limit."""
    head = text[: limit + 1]
    if head.isascii() and head.isprintable() and len(head) <= limit:
        return head
    shown = "".join(_escaped(character) for character in head)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _escaped(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "C" or category in {"Zl", "Zp"}:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def _chain(transaction: Transaction) -> None:
    events = [entry for entry in transaction.pending if isinstance(entry, PendingEvent)]
    newest = {(entry.table, entry.row_id): entry for entry in transaction.pending if isinstance(entry, SealedRow)}
    sealed = list(newest.values())
    if not events and not sealed:
        return
    if not events:
        # Whoever sealed said nothing; the log does.
        events = [PendingEvent("row.sealed", sealed[0].table, SYSTEM, None, "ok", None, None, {}, None)]
    chain, is_new = _head()
    for position, event in enumerate(events):
        at = event.at if event.at is not None else now_ms()
        if at < chain.at - CLOCK_TOLERANCE_MS:
            back = {"from": chain.at, "to": at}
            chain.add(PendingEvent("clock.stepped-back", SYSTEM, SYSTEM, None, "warning", None, None, back, at), at, [])
        chain.add(event, at, sealed if position == 0 else [])
    cursor = database_proxy.obj.cursor()
    cursor.executemany(_sql(_INSERT), chain.rows)
    cursor.execute(_sql(_NEW_HEAD if is_new else _MOVE_HEAD), (chain.seq, chain.hash, chain.at))


def _head() -> tuple[_Chain, bool]:
    cursor = database_proxy.obj.cursor()
    # On SQLite the writer's lock is ours already.
    row = cursor.execute(_HEAD + " FOR UPDATE" if is_postgres() else _HEAD).fetchone()
    if row is None and is_postgres():
        # There is no row to lock before the first event; two first writers must not both begin at 1.
        cursor.execute("SELECT pg_advisory_xact_lock(5567308166402132297)")
        row = cursor.execute(_HEAD).fetchone()
    return (_Chain(0, GENESIS, 0), True) if row is None else (_Chain(row[0], bytes(row[1]), row[2]), False)


def _sql(text: str) -> str:
    return text.replace("?", "%s") if is_postgres() else text


def _cut(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    text = canonical_json(detail)
    if len(text) <= DETAIL_LIMIT:
        return detail
    return {"cut": hashlib.sha256(text.encode()).hexdigest(), "length": len(text)}


def _content(
    event: PendingEvent, seq: int, at: int, detail: Mapping[str, Any], sealed: list[SealedRow]
) -> dict[str, Any]:
    if sealed:
        detail = {**detail, "sealed": [[row.table, row.row_id, row.version, row.seal_sha256] for row in sealed]}
    return {
        "seq": seq,
        "at": at,
        "actor": one_line(event.actor),
        "actor_kid": event.actor_kid,
        "action": one_line(event.action, 80),
        "object": one_line(event.object),
        "outcome": one_line(event.outcome, 40),
        "project": event.project,
        "environment": event.environment,
        "detail": detail,
    }
