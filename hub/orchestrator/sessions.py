"""The hub's side of sessions: hello, welcome, heartbeats, and whether a spoke is there.

A hello opens nothing: only a heartbeat that echoes the welcome's nonce shows that a spoke lives behind it, so a
recorded hello is worth nothing. Until then what it said (a new box key, versions) lies in the welcome's row.

    hello -> session row, welcome row -> heartbeat with the hub's nonce -> live: commands go out, the former one ends
"""

import json
import logging
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from hub.events.record import SYSTEM, record
from hub.infrastructure.target_health import spoke_says
from hub.infrastructure.targets import set_health
from hub.orchestrator.ahead import Ahead
from hub.orchestrator.parts import EngineParts
from hub.states import Health, OutboxKind, OutboxState
from hub.storage.database import current_transaction, is_postgres
from hub.storage.models import FormerKey, Introduction, Outbox, Spoke, SpokeConflict, SpokeSession, Target
from hub.storage.models.table import canonical_json
from hub.storage.prepared import Prepared, PreparedRows, hole
from hub.trust.telling import order
from wire.errors import Code, Refused
from wire.exchange import SKEW_S, Received
from wire.keys import BoxPublicKey, hex_bytes
from wire.messages import Heartbeat, Hello, Op, Rotate
from wire.rotation import rotated_key

logger = logging.getLogger(__name__)

FORMER_MS = 15 * 60 * 1000
_WAITING_MAX = 8
_DISK_LOW_MB = 500
_BEAT_SLACK_MS = 2_000

_SESSION = PreparedRows(SpokeSession, lambda: SpokeSession.select().where(SpokeSession.nonce == hole("nonce")))
_COUNTER = Prepared(
    lambda: SpokeSession.update(last_counter=hole("counter"), live=True).where(SpokeSession.id == hole("id"))
)
_SEEN = Prepared(lambda: Spoke.update(last_seen_at=hole("at"), load=hole("load")).where(Spoke.id == hole("id")))
_SKEW = Prepared(lambda: Spoke.select(Spoke.clock_skew_s, Spoke.trust_version).where(Spoke.id == hole("id")))
_SILENT = Prepared(
    lambda: (
        SpokeSession.select(SpokeSession.id, SpokeSession.spoke, Spoke.last_seen_at)
        .join(Spoke, on=(Spoke.id == SpokeSession.spoke))
        .where(SpokeSession.live, SpokeSession.valid_until.is_null(), Spoke.last_seen_at < hole("before_ms"))
    )
)
# A beat that was sealed as the session changed may come after the first one of the next session.
_CHANGE_OVER_MS = 2_000
_CONFLICT_SAID_MS = 3600 * 1000
_OTHERS_SAY_MS = 30_000
_CONFLICT_KEPT_MS = 24 * 3600 * 1000


class Sessions:
    """Rows of sessions and spokes as spokes speak; all but `health_of` and `silent` run inside `write_tx`."""

    def __init__(self, parts: EngineParts, wake: Callable[[], None]) -> None:
        self._parts = parts
        self._wake = wake
        self._health: dict[str, tuple[Health, str, int]] = {}
        self._conflicts: tuple[int, dict[str, tuple[int, str]]] | None = None
        self.forget_keys: Callable[[], None] = _nothing
        """Told when a key has replaced another one: what was looked up before does not count any more."""
        self.ahead = Ahead(parts, wake)

    def hello(self, received: Received) -> None:
        """Answer with a welcome; the same hello again (the broker delivers twice) gets the same one.

        Raises:
            Refused: header and body name different nonces; a weak box key.
        """
        body = received.body
        assert isinstance(body, Hello)
        spoke = received.signer.owner
        if body.nonce != received.header.ses:
            raise Refused(Code.ENV_SESSION, "header and body name different nonces")
        BoxPublicKey.of(hex_bytes(body.box_pk, 32))
        known = SpokeSession.get_or_none(SpokeSession.nonce == body.nonce)
        if known is not None:
            if known.spoke == spoke and not known.live and known.valid_until is None:
                self._welcome_again(known)
            return
        now_ms = self._parts.clock_ms()
        session = SpokeSession(spoke=spoke, nonce=body.nonce, hub_nonce=os.urandom(16).hex(), opened_at=now_ms)
        session.save(force_insert=True)
        self._forget_unanswered(spoke)
        Outbox.insert(
            kind=OutboxKind.WELCOME,
            spoke=spoke,
            cid=session.id,
            body=json.dumps({**_said(body, now_ms), "alive": self.ahead.alive(spoke, body)}).encode(),
            created_at=now_ms,
        ).execute()
        current_transaction().after_commit.append(self._wake)

    def announce(self, received: Received) -> None:
        """A spoke's next signing key, which proves itself; the present one holds until the next one is heard.

        Raises:
            Refused: the new key's proof does not hold.
        """
        body, spoke = received.body, received.signer.owner
        assert isinstance(body, Rotate)
        key = rotated_key(body, spoke_id=spoke, hub_id=self._parts.trust().hub_id)
        if Spoke.select().where(Spoke.sign_kid == key.kid.hex()).exists():
            raise Refused(Code.KEY_WEAK, "the new key belongs to a spoke already")
        row = Spoke.get_by_id(spoke)
        self._parts.seals.check(row)
        row.next_sign_pk = key.pk.hex()
        self._seal(row, "spoke.key-announced", "next_sign_pk")

    def beats(self, beats: Iterable[Received]) -> list[tuple[Received, Code]]:
        """Refresh who is there.

        Returns:
            What did not count: another session, another nonce, a counter seen before.
        """
        refused: list[tuple[Received, Code]] = []
        for received in beats:
            code = self._beat(received)
            if code is not None:
                refused.append((received, code))
        return refused

    def conflict(self, spoke: str, seen: str) -> None:
        """A spoke lives twice: somebody runs a copy of its home, keys included. Inside `write_tx`."""
        now_ms = self._parts.clock_ms()
        words = f"SESSION_CONFLICT: two copies of this spoke run ({seen}); revoke it, and enrol the right one anew"
        known: SpokeConflict | None = SpokeConflict.get_or_none(SpokeConflict.spoke == spoke)
        noted_ms = known.noted_at if known is not None and now_ms - known.noted_at <= _CONFLICT_SAID_MS else now_ms
        SpokeConflict.delete().where(SpokeConflict.spoke == spoke).execute()
        SpokeConflict.insert(spoke=spoke, at=now_ms, noted_at=noted_ms, words=words).execute()
        self._known_conflicts()[spoke] = (now_ms, words)
        if noted_ms == now_ms:
            record("spoke.conflict", f"spoke:{spoke}", actor=SYSTEM, outcome="failed", detail={"seen": seen})
            logger.error("a spoke lives twice", extra={"spoke": spoke, "seen": seen})
        self._set_health(spoke, Health.UNHEALTHY, words)

    def sweep(self) -> None:
        """Spokes that missed their beats are away: nothing is published to them until they are heard again."""
        for session, spoke, seen_ms in self.silent():
            SpokeSession.update(live=False).where(SpokeSession.id == session).execute()
            self._set_health(spoke, Health.UNAVAILABLE, f"no heartbeat since {_clock(seen_ms)}")
            logger.info("spoke fell silent", extra={"spoke": spoke})

    def silent(self) -> list[tuple[str, str, int]]:
        """Live sessions whose spokes missed their beats, those spokes, and when each was last heard; only read."""
        limits = self._parts.limits
        before_ms = self._parts.clock_ms() - limits.missed_beats * limits.heartbeat_s * 1000 - _BEAT_SLACK_MS
        return _SILENT.tuples(before_ms=before_ms)

    def forget(self, spoke: str) -> None:
        """A spoke that is not trusted any more has no session."""
        SpokeSession.delete().where(SpokeSession.spoke == spoke).execute()
        Outbox.update(state=OutboxState.DEAD).where(
            Outbox.spoke == spoke, Outbox.state.not_in([OutboxState.DONE, OutboxState.DEAD])
        ).execute()
        self._set_health(spoke, Health.UNAVAILABLE, "its spoke is not trusted any more")

    def explain(self, spoke: str, reason: str) -> None:
        """Why a spoke is away that is away; one that is there speaks for itself."""
        live = SpokeSession.select().where(
            SpokeSession.spoke == spoke, SpokeSession.live, SpokeSession.valid_until.is_null()
        )
        if live.exists():
            return
        self._set_health(spoke, Health.UNAVAILABLE, reason)
        expected: Introduction | None = Introduction.get_or_none(Introduction.id == spoke)
        if expected is not None and expected.target is not None:
            now_ms = self._parts.clock_ms()
            set_health(Target.get_by_id(expected.target), Health.UNAVAILABLE, reason, now_ms)

    def _beat(self, received: Received) -> Code | None:
        body, spoke = received.body, received.signer.owner
        assert isinstance(body, Heartbeat)
        session = _SESSION.one(nonce=received.header.ses)
        if session is None:
            self.ahead.call(received)
        if session is None or session.spoke != spoke or session.hub_nonce != body.hub_nonce:
            return Code.ENV_SESSION
        if body.counter <= session.last_counter:
            return Code.ENV_REPLAY
        now_ms = self._parts.clock_ms()
        if session.valid_until is not None:
            if now_ms - (session.valid_until - FORMER_MS) > _CHANGE_OVER_MS:
                self.conflict(spoke, "it goes on in a session that a later one has replaced")
            return Code.ENV_SESSION
        _COUNTER.run(id=session.id, counter=body.counter)
        load = {name: getattr(body.load, name) for name in ("cpu_percent", "memory_mb", "disk_free_mb", "jobs_running")}
        _SEEN.run(id=spoke, at=now_ms, load=canonical_json(load))
        if not session.live:
            # Another engine may have called it silent.
            self._health.pop(spoke, None)
            self._went_live(session, now_ms)
            self._take_over_key(spoke, received)
        if self._is_double(spoke, now_ms):
            return None
        ((skew_s, trust_version),) = _SKEW.tuples(id=spoke)
        health, reason = self.health_of(skew_s, trust_version, body.load.disk_free_mb)
        self._set_health(spoke, health, reason)
        return None

    def _is_double(self, spoke: str, now_ms: int) -> bool:
        """Whether it was seen twice within the day: then its beats say nothing good."""
        at_ms, words = self._known_conflicts().get(spoke, (0, ""))
        if now_ms - at_ms > _CONFLICT_KEPT_MS:
            return False
        self._set_health(spoke, Health.UNHEALTHY, words)
        return True

    def _known_conflicts(self) -> dict[str, tuple[int, str]]:
        now_ms = self._parts.clock_ms()
        if self._conflicts is None or (is_postgres() and now_ms - self._conflicts[0] > _OTHERS_SAY_MS):
            found = {row.spoke: (row.at, row.words) for row in SpokeConflict.select()}
            self._conflicts = (now_ms, found)
        return self._conflicts[1]

    def _went_live(self, session: SpokeSession, now_ms: int) -> None:
        """The former session ends, and what it was sent and never accepted is sealed anew."""
        SpokeSession.update(valid_until=now_ms + FORMER_MS, live=False).where(
            SpokeSession.spoke == session.spoke, SpokeSession.id != session.id, SpokeSession.valid_until.is_null(),
            SpokeSession.opened_at <= session.opened_at,
        ).execute()  # fmt: skip
        SpokeSession.delete().where(SpokeSession.spoke == session.spoke, SpokeSession.valid_until < now_ms).execute()
        Outbox.update(state=OutboxState.WAITING).where(
            Outbox.spoke == session.spoke,
            Outbox.state == OutboxState.PUBLISHED,
            Outbox.kind.in_([OutboxKind.COMMAND, OutboxKind.CANCEL, OutboxKind.ORDER]),
        ).execute()
        welcome = Outbox.get_or_none(Outbox.kind == OutboxKind.WELCOME, Outbox.cid == session.id)
        if welcome is not None:
            said = json.loads(welcome.body)
            self._believe(session.spoke, said)
            self.ahead.ask(session.spoke, said.get("alive", {}))
            if said["trust_version"] < self._parts.trust().version:
                # Its welcome may have named an older one, and whoever carries the documents may hold them back.
                order(session.spoke, Op.UPDATE_TRUST, now_ms)
            Outbox.delete().where(Outbox.id == welcome.id).execute()
        logger.info("session is live", extra={"spoke": session.spoke})
        current_transaction().after_commit.append(self._wake)

    def _take_over_key(self, spoke: str, received: Received) -> None:
        """The first session under an announced key ends the former key."""
        row = Spoke.get_by_id(spoke)
        if row.sign_kid == received.signer.kid.hex() or row.next_sign_pk != received.signer.pk.hex():
            return
        self._parts.seals.check(row)
        former = FormerKey(
            kid=row.sign_kid, spoke=row.id, public_key=row.sign_pk, until=self._parts.clock_ms() + FORMER_MS
        )
        self._parts.seals.seal(former)
        former.save(force_insert=True)
        current_transaction().after_commit.append(self.forget_keys)
        row.sign_pk, row.sign_kid, row.next_sign_pk = received.signer.pk.hex(), received.signer.kid.hex(), None
        self._seal(row, "spoke.key-rotated", "sign_pk", "sign_kid", "next_sign_pk")

    def _seal(self, row: Spoke, action: str, *columns: str) -> None:
        self._parts.seals.seal(row)
        changed = {name: getattr(row, name) for name in columns}
        Spoke.update(**changed, seal=row.seal).where(Spoke.id == row.id).execute()
        record(action, f"spoke:{row.id}", actor=f"spoke:{row.id}", detail=changed)

    def _believe(self, spoke_id: str, said: dict[str, Any]) -> None:
        """Take over what the hello said; a new box key is part of the row's seal."""
        row = Spoke.get_by_id(spoke_id)
        plain = ("software", "platform", "runner_release", "trust_version", "clock_skew_s")
        columns = {name: said[name] for name in plain}
        if row.box_pk != said["box_pk"]:
            self._parts.seals.check(row)
            row.box_pk = said["box_pk"]
            self._seal(row, "spoke.box-key", "box_pk")
        Spoke.update(columns).where(Spoke.id == spoke_id).execute()
        self.ahead.knows(spoke_id, said["trust_version"])

    def health_of(self, skew_s: float, trust_version: int, disk_free_mb: int) -> tuple[Health, str]:
        """What a beat says of a machine, and why."""
        if abs(skew_s) > SKEW_S:
            return Health.WARNING, f"CLOCK_SKEW: its clock is off by {skew_s:.0f} s"
        ours = self._parts.trust().version
        if trust_version < ours:
            return Health.WARNING, f"it holds trust document {trust_version}, the hub has {ours}"
        if disk_free_mb < _DISK_LOW_MB:
            return Health.WARNING, f"{disk_free_mb} MB of disk are left"
        return Health.HEALTHY, ""

    def _set_health(self, spoke: str, health: Health, reason: str) -> None:
        now_ms = self._parts.clock_ms()
        *said, at_ms = self._health.get(spoke, (None, "", 0))
        # Where other engines may have said something else meanwhile, it is said again now and then.
        if said == [health, reason] and not (is_postgres() and now_ms - at_ms > _OTHERS_SAY_MS):
            return
        spoke_says(spoke, health, reason, now_ms)
        # What is not committed was not said.
        said_now = (health, reason, now_ms)
        current_transaction().after_commit.append(lambda: self._health.update({spoke: said_now}))

    def _welcome_again(self, session: SpokeSession) -> None:
        Outbox.update(state=OutboxState.WAITING).where(
            Outbox.kind == OutboxKind.WELCOME, Outbox.cid == session.id
        ).execute()
        current_transaction().after_commit.append(self._wake)

    def _forget_unanswered(self, spoke: str) -> None:
        """A flood of hellos leaves the newest few."""
        waiting: Any = (
            SpokeSession.select(SpokeSession.id)
            .where(SpokeSession.spoke == spoke, ~SpokeSession.live, SpokeSession.last_counter == 0)
            .order_by(SpokeSession.opened_at.desc(), SpokeSession.id)
            .offset(_WAITING_MAX)
            .limit(1_000)
            .tuples()
        )
        old = [row for (row,) in waiting]
        if old:
            Outbox.delete().where(Outbox.kind == OutboxKind.WELCOME, Outbox.cid.in_(old)).execute()
            SpokeSession.delete().where(SpokeSession.id.in_(old)).execute()


def _nothing() -> None:
    """Where no key was looked up."""


def _said(body: Hello, now_ms: int) -> dict[str, Any]:
    platform = body.platform
    names = ("system", "machine", "release", "python", "hostname")
    return {
        "box_pk": body.box_pk,
        "software": body.software[:100],
        "platform": {name: getattr(platform, name) for name in names},
        "runner_release": body.runner_release,
        "trust_version": body.trust_version,
        "clock_skew_s": body.clock - now_ms / 1000,
    }


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S UTC")
