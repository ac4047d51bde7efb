"""Spokes that know more than this hub: its database was put back to an earlier state, or another hub took its place.

They are believed. Who knows a newer trust document or lives in a later epoch keeps every command back until a person
has looked. Whose session this hub does not know is called: it says hello anew, and what it had under way comes with it.
Of a job of the time that the hub forgot its spoke is asked by a cancel: that starts nothing, and is answered with the
end of what had ended; what runs there runs on.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from peewee import fn

from hub.events.record import SYSTEM, record
from hub.orchestrator.events import Event, JobAccepted, JobStarted
from hub.orchestrator.parts import EngineParts
from hub.orchestrator.recent import Recent
from hub.orchestrator.states import OPEN_JOBS
from hub.states import OutboxKind, OutboxState, SpokeState
from hub.storage.database import connection, current_transaction, is_postgres, write_tx
from hub.storage.models import Installation, Job, Outbox, Spoke, TrustFrame, new_row_id
from wire.exchange import Received
from wire.messages import Heartbeat, Hello
from wire.messages import JobState as SpokeJobState

logger = logging.getLogger(__name__)

CALL_LIFE_MS = 5 * 60_000
ASK_LIFE_MS = 24 * 3600 * 1000

_CALLED_AGAIN_MS = 60_000
_CALLED_MAX = 10_000
_NAMED_MAX = 50
_CURE = "stop this hub and run `manyarm backup new-epoch --above {version}`"

Alive = Mapping[str, str]
"""Jobs that a spoke has and that have not ended there, and how its journal knows them."""


class Ahead:
    """One for an engine; all but `stopped` and `hears` run inside `write_tx`."""

    def __init__(self, parts: EngineParts, wake: Callable[[], None]) -> None:
        self._parts = parts
        self._wake = wake
        self._version = 0
        self._epoch = 0
        self._said_to_others = Recent(_newest_known)
        self._called: dict[str, int] = {}
        self.feed: Callable[[Mapping[str, Sequence[Event]]], None] = _nothing
        """Told what spokes say of jobs that run on."""

    def stopped(self) -> str:
        """Why no command may be issued; "" where they may."""
        trust = self._parts.trust()
        if self._epoch > trust.epoch:
            return (
                f"ENV_EPOCH: spokes live in epoch {self._epoch}, this hub in {trust.epoch}: another hub was restored "
                f"from a backup of this one. If this is the right one, {_CURE.format(version=trust.version)}"
            )
        # Where several engines work, one hears spokes; the others read what they said.
        known = max(self._version, self._said_to_others()) if is_postgres() else self._version
        if known > trust.version:
            return (
                f"TRUST_ROLLBACK: spokes know trust document {known}, the hub has {trust.version}: "
                f"its database is older than they are; {_CURE.format(version=known)}"
            )
        return trust.waits

    def knows(self, spoke: str, version: int) -> None:
        """Which trust document a spoke has."""
        if version <= max(self._parts.trust().version, self._version):
            return
        # Ours is of the last second: a spoke may have fetched a newer one that another process has just published.
        ours = TrustFrame.select(fn.MAX(TrustFrame.version)).scalar() or 0
        if version > ours:
            self._version = version
            self._say(spoke, {"trust_version": version, "ours": ours})

    def hears(self, spoke: str, epoch: int) -> bool:
        """Whether this comes from a later epoch than ours, which then is nothing for us."""
        if epoch <= self._parts.trust().epoch:
            return False
        ours = Installation.select(fn.MAX(Installation.epoch)).scalar() or 0
        if epoch <= ours:
            return False
        if epoch > self._epoch:
            self._epoch = epoch
            with write_tx():
                self._say(spoke, {"epoch": epoch, "ours": ours})
        return True

    def call(self, beat: Received) -> None:
        """A spoke beats in a session of which this hub knows nothing: in that one it is asked to say hello."""
        body, spoke = beat.body, beat.signer.owner
        assert isinstance(body, Heartbeat)
        now_ms = self._parts.clock_ms()
        if now_ms - self._called.get(spoke, 0) < _CALLED_AGAIN_MS:
            return
        if len(self._called) >= _CALLED_MAX:
            self._called.clear()
        self._called[spoke] = now_ms
        Outbox.insert(
            kind=OutboxKind.CALL,
            spoke=spoke,
            cid=new_row_id(),
            ses=beat.header.ses,
            seq=body.last_seq,
            created_at=now_ms,
            expires_at=now_ms + CALL_LIFE_MS,
        ).execute()
        logger.info("spoke is called: its session is not known", extra={"spoke": spoke})
        current_transaction().after_commit.append(self._wake)

    def alive(self, spoke: str, hello: Hello) -> Alive:
        """Of the jobs that are open here since before the hub was restored: those that go on, as the spoke says."""
        waited = self._forgotten(spoke)
        unfinished = {
            report.cid: str(report.state) for report in hello.reports if report.state is not SpokeJobState.ENDED
        }
        if self._parts.trust().restored_ms and unfinished:
            self._say_forgotten(spoke, unfinished)
        return {cid: unfinished[cid] for cid in waited if cid in unfinished}

    def ask(self, spoke: str, alive: Alive) -> None:
        """The spoke is there: what it has goes on, of all else it is asked what became of it."""
        waited = self._forgotten(spoke)
        events: dict[str, list[Event]] = {}
        for cid, task in waited.items():
            if cid in alive:
                begun = alive[cid] == SpokeJobState.RUNNING
                events.setdefault(task, []).append(JobStarted(cid) if begun else JobAccepted(cid))
        self.feed(events)
        self._ask_about(spoke, [cid for cid in waited if cid not in alive])

    def is_forgotten(self, job: Any) -> bool:
        """Whether frames of this job may have gone out of which this hub knows nothing."""
        restored_ms = self._parts.trust().restored_ms
        return bool(restored_ms and job.created_at <= restored_ms)

    def _forgotten(self, spoke: str) -> dict[str, str]:
        """Jobs that are open here since before the hub was restored, and their tasks."""
        restored_ms = self._parts.trust().restored_ms
        if not restored_ms:
            return {}
        rows: Any = Job.select(Job.id, Job.task).where(
            Job.spoke == spoke, Job.state.in_([*OPEN_JOBS]), Job.created_at <= restored_ms
        )
        return dict(rows.tuples())

    def _ask_about(self, spoke: str, cids: Collection[str]) -> None:
        now_ms = self._parts.clock_ms()
        asked: Any = Outbox.select(Outbox.cid).where(
            Outbox.spoke == spoke,
            Outbox.kind == OutboxKind.CANCEL,
            Outbox.state.in_([OutboxState.WAITING, OutboxState.PUBLISHED]),
        )
        waiting = {cid for (cid,) in asked.tuples()}
        rows = [
            {
                "kind": OutboxKind.CANCEL,
                "spoke": spoke,
                "cid": cid,
                "body": b"the hub was restored from a backup and asks what became of it",
                "created_at": now_ms,
                "expires_at": now_ms + ASK_LIFE_MS,
            }
            for cid in cids
            if cid not in waiting
        ]
        for start in range(0, len(rows), 100):
            Outbox.insert_many(rows[start : start + 100]).execute()
        if rows:
            logger.info("spoke is asked about jobs of a forgotten time", extra={"spoke": spoke, "jobs": len(rows)})

    def _say_forgotten(self, spoke: str, unfinished: Alive) -> None:
        """What runs there since the time that the hub forgot runs on; nobody here can look after it."""
        rows: Any = Job.select(Job.id).where(Job.id.in_(list(unfinished)))
        known = {cid for (cid,) in rows.tuples()}
        strangers = sorted(cid for cid in unfinished if cid not in known)
        if strangers:
            detail = {"count": len(strangers), "jobs": strangers[:_NAMED_MAX]}
            record("job.forgotten", f"spoke:{spoke}", actor=f"spoke:{spoke}", outcome="warning", detail=detail)
            logger.warning("spoke has jobs that this hub forgot", extra={"spoke": spoke, "jobs": len(strangers)})

    def _say(self, spoke: str, what: Mapping[str, int]) -> None:
        record("trust.rollback", f"spoke:{spoke}", actor=SYSTEM, outcome="failed", detail=what)
        logger.error("spokes know more than this hub; no command is issued", extra={"spoke": spoke, **what})


def _newest_known() -> int:
    """The newest trust document that a spoke has, as its hello said to whichever engine heard it."""
    with connection():
        found = Spoke.select(fn.MAX(Spoke.trust_version)).where(Spoke.state == SpokeState.TRUSTED).scalar()
    return int(found or 0)


def _nothing(_: Mapping[str, Sequence[Event]]) -> None:
    """Where nobody minds."""
