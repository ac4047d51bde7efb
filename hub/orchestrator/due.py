"""Which rows of the outbox may go now: to live sessions, to spokes that know whom to believe, not tried just before."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hub.orchestrator.parts import EngineParts
from hub.orchestrator.sealing import Session
from hub.states import OutboxKind, OutboxState
from hub.storage.models import Job, Outbox, Spoke, SpokeSession
from hub.storage.prepared import Prepared, hole, holes

_RETRY_MS = 500
_RETRY_MAX_MS = 30_000
_PUT_BACK_MAX = 1_000

_KINDS = Prepared(lambda: Outbox.select(Outbox.kind).where(Outbox.state == OutboxState.WAITING).distinct())
_WELCOMES = Prepared(
    lambda: (
        Outbox.select(Outbox.id, Outbox.spoke, Outbox.body, SpokeSession.id, SpokeSession.nonce, SpokeSession.hub_nonce)
        .join(SpokeSession, on=(SpokeSession.id == Outbox.cid))
        .where(Outbox.kind == OutboxKind.WELCOME, Outbox.state == OutboxState.WAITING)
        .order_by(Outbox.id)
        .limit(hole("limit"))
    )
)
_IN_LIVE_SESSIONS = Prepared(
    lambda count: (
        Outbox.select(
            Outbox.id,
            Outbox.kind,
            Outbox.cid,
            Outbox.body,
            Outbox.expires_at,
            Outbox.spoke,
            Job.task,
            SpokeSession.id,
            SpokeSession.nonce,
            SpokeSession.seq_out,
        )
        .join(SpokeSession, on=(SpokeSession.spoke == Outbox.spoke))
        .join(Job, on=(Job.id == Outbox.cid))
        .join(Spoke, on=(Spoke.id == Outbox.spoke))
        .where(
            Outbox.state == OutboxState.WAITING,
            Outbox.kind.in_(holes("kinds", count)),
            Outbox.expires_at > hole("now_ms"),
            SpokeSession.live,
            SpokeSession.valid_until.is_null(),
            # Who does not know that a key was revoked is told first.
            Spoke.trust_version >= hole("floor"),
        )
        # "cancel" stands before "command" in the alphabet too.
        .order_by(Outbox.kind, Outbox.id)
        .limit(hole("limit"))
    ),
    "kinds",
)


@dataclass(frozen=True, slots=True)
class Due:
    """One row that may go now, and the session under which it goes."""

    row: int
    kind: OutboxKind
    cid: str
    task: str
    reason: str
    expires_ms: int
    session_row: str
    session: Session
    seq_out: int


class Waiting:
    """What waits in the outbox; for one thread at a time."""

    def __init__(self, parts: EngineParts, stopped: Callable[[], str]) -> None:
        """`stopped` says why no command may be issued at present; "" where they may."""
        self._parts = parts
        self._stopped = stopped
        self._not_before: dict[int, tuple[int, int]] = {}
        self._kinds: set[OutboxKind] = set()

    def hold_back(self, row: int) -> None:
        """It was not confirmed: later, and later still with each attempt."""
        tries = self._not_before.get(row, (0, 0))[1]
        delay_ms = min(_RETRY_MS * 2 ** min(tries, 10), _RETRY_MAX_MS)
        self._not_before[row] = (self._parts.clock_ms() + delay_ms, tries + 1)

    def forget_old(self) -> None:
        """How often was tried what has not been tried for long."""
        since_ms = self._parts.clock_ms() - _RETRY_MAX_MS * 4
        self._not_before = {row: kept for row, kept in self._not_before.items() if kept[0] > since_ms}

    def due(self, limit: int) -> list[Due]:
        """What may go now: welcomes, then cancels, then commands in the order in which they were asked for."""
        self._kinds = {OutboxKind(kind) for (kind,) in _KINDS.tuples()}
        if not self._kinds:
            return []
        due = self._due_welcomes(limit) + self._due_calls(limit)
        due += self._due_orders(limit - len(due))
        kinds = [OutboxKind.CANCEL] if self._stopped() else [OutboxKind.CANCEL, OutboxKind.COMMAND]
        return due + self._due_in_sessions(kinds, limit - len(due)) if len(due) < limit else due

    def _due_welcomes(self, limit: int) -> list[Due]:
        rows = _WELCOMES.tuples(limit=limit) if OutboxKind.WELCOME in self._kinds else []
        return [
            Due(row, OutboxKind.WELCOME, "", "", "", 0, session_row, Session(spoke, nonce, hub_nonce, *_said(body)), 0)
            for row, spoke, body, session_row, nonce, hub_nonce in rows
        ]

    def _due_calls(self, limit: int) -> list[Due]:
        """To spokes whose sessions we do not know, each in its own, with the number that comes next there."""
        if OutboxKind.CALL not in self._kinds:
            return []
        rows: Any = (
            Outbox.select(Outbox.id, Outbox.cid, Outbox.expires_at, Outbox.spoke, Outbox.ses, Outbox.seq)
            .where(
                Outbox.kind == OutboxKind.CALL,
                Outbox.state == OutboxState.WAITING,
                Outbox.expires_at > self._parts.clock_ms(),
            )
            .order_by(Outbox.id)
            .limit(limit)
            .tuples()
        )
        return [
            Due(row, OutboxKind.CALL, cid, "", "", expires_ms, f"call {cid}", Session(spoke, ses), seq)
            for row, cid, expires_ms, spoke, ses, seq in rows
        ]

    def _due_orders(self, limit: int) -> list[Due]:
        """What spokes themselves are asked for: before any command, for one may need the keys of the other."""
        if OutboxKind.ORDER not in self._kinds:
            return []
        now_ms = self._parts.clock_ms()
        rows: Any = (
            Outbox.select(
                Outbox.id,
                Outbox.cid,
                Outbox.body,
                Outbox.expires_at,
                Outbox.spoke,
                SpokeSession.id,
                SpokeSession.nonce,
                SpokeSession.seq_out,
            )
            .join(SpokeSession, on=(SpokeSession.spoke == Outbox.spoke))
            .where(
                Outbox.kind == OutboxKind.ORDER,
                Outbox.state == OutboxState.WAITING,
                Outbox.expires_at > now_ms,
                SpokeSession.live,
                SpokeSession.valid_until.is_null(),
            )
            .order_by(Outbox.id)
            .limit(limit)
            .tuples()
        )
        return [
            Due(row, OutboxKind.ORDER, cid, "", bytes(body).decode(), expires_ms, session, Session(spoke, nonce), seq)
            for row, cid, body, expires_ms, spoke, session, nonce, seq in rows
            if self._not_before.get(row, (0, 0))[0] <= now_ms
        ]

    def _due_in_sessions(self, kinds: Sequence[OutboxKind], limit: int) -> list[Due]:
        now_ms = self._parts.clock_ms()
        held = {row for row, (not_before_ms, _) in self._not_before.items() if not_before_ms > now_ms}
        found = _IN_LIVE_SESSIONS.tuples(
            kinds=kinds, now_ms=now_ms, floor=self._parts.trust().floor, limit=limit + min(len(held), _PUT_BACK_MAX)
        )
        due = [
            Due(row, OutboxKind(kind), cid, task, bytes(body or b"").decode(), ends_ms, at, Session(spoke, nonce), seq)
            for row, kind, cid, body, ends_ms, spoke, task, at, nonce, seq in found
            if row not in held
        ]
        return due[:limit]


def _said(body: bytes) -> tuple[str, int]:
    """What the hello brought, which counts only when the session is live: to which key its welcome is sealed, and
    which trust document decides by whose key it is signed.
    """
    said = json.loads(bytes(body))
    return str(said["box_pk"]), int(said["trust_version"])
