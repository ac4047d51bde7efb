"""What a turn of a task puts into the outbox and takes out of it again; inside the caller's transaction.

A command that never went out is taken back here and now. One that did is its spoke's: only a cancel settles it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hub.orchestrator import out_of_reach
from hub.orchestrator.effects import SendCancel, SendJob
from hub.orchestrator.events import Event, JobEnded, JobExpired
from hub.orchestrator.plan import DeploymentPlan
from hub.states import JobState, OutboxKind, OutboxState
from hub.storage.database import current_transaction
from hub.storage.models import IssuedFrame, Outbox
from hub.storage.prepared import Prepared, hole, holes

CANCEL_LIFE_MS = 24 * 3600 * 1000
_ROWS_A_STATEMENT = 200

_SETTLED = (OutboxState.DONE, OutboxState.DEAD)
_NEW_COMMAND = Prepared(
    lambda: Outbox.insert(
        kind=OutboxKind.COMMAND,
        spoke=hole("spoke"),
        cid=hole("cid"),
        created_at=hole("created_at"),
        expires_at=hole("expires_at"),
    )
)
_DONE = Prepared(
    lambda count: Outbox.update(state=OutboxState.DONE).where(
        Outbox.cid.in_(holes("cids", count)), Outbox.state.not_in(_SETTLED)
    ),
    "cids",
)
_ACCEPTED = Prepared(
    lambda count: Outbox.update(state=OutboxState.ACCEPTED).where(
        Outbox.cid.in_(holes("cids", count)), Outbox.kind == OutboxKind.COMMAND, Outbox.state.not_in(_SETTLED)
    ),
    "cids",
)


class Sendings:
    """`wake` is called after a commit that put something in."""

    def __init__(self, clock_ms: Callable[[], int], wake: Callable[[], None]) -> None:
        self._clock_ms = clock_ms
        self._wake = wake

    def add(self, plan: DeploymentPlan, sends: Sequence[SendJob]) -> None:
        """Commands that are to go out."""
        if not sends:
            return
        now_ms = self._clock_ms()
        _NEW_COMMAND.run_each(
            {
                "spoke": plan.attempts[send.job][0].target.spoke,
                "cid": send.job,
                "created_at": now_ms,
                "expires_at": send.deadline_ms,
            }
            for send in sends
        )
        out_of_reach.hold(plan, {send.job for send in sends})
        current_transaction().after_commit.append(self._wake)

    def settle(self, *, dropped: Sequence[str], ended: Sequence[str], accepted: Sequence[str]) -> None:
        """Rows of jobs that are not to be sent any more, are over, or have been taken."""
        for part in _parts(dropped):
            _drop(Outbox.cid.in_(part))
        for part in _parts(ended):
            _DONE.run(cids=part)
        for part in _parts(accepted):
            _ACCEPTED.run(cids=part)

    def cancel(self, plan: DeploymentPlan, cancels: Iterable[SendCancel]) -> list[Event]:
        """A command that never left is taken back; behind one that did goes a cancel."""
        following: list[Event] = []
        for cancel in cancels:
            never_sent = Outbox.state.in_([OutboxState.WAITING, OutboxState.HELD]) & (Outbox.attempts == 0)
            if _drop((Outbox.cid == cancel.job) & never_sent):
                following.append(JobEnded(cancel.job, JobState.CANCELLED, None, "it was never sent"))
            else:
                self._cancel(plan, cancel.job, cancel.reason)
        return following

    def expire(self, plan: DeploymentPlan, cids: Iterable[str]) -> list[Event]:
        """What never went out, or was refused each time, has expired; of all else its spoke is told to leave it."""
        following: list[Event] = []
        for cid in cids:
            _drop(Outbox.cid == cid)
            if may_have_been_taken(cid):
                self._cancel(plan, cid, "nobody said in time that it was taken")
            else:
                following.append(JobExpired(cid))
        return following

    def _cancel(self, plan: DeploymentPlan, cid: str, reason: str) -> None:
        now_ms = self._clock_ms()
        Outbox.insert(
            kind=OutboxKind.CANCEL,
            spoke=plan.attempts[cid][0].target.spoke,
            cid=cid,
            body=reason.encode("utf-8"),
            created_at=now_ms,
            expires_at=now_ms + CANCEL_LIFE_MS,
        ).execute()
        current_transaction().after_commit.append(self._wake)


def taken(cids: Sequence[str]) -> None:
    """The spokes of these jobs have them, whatever went out since; inside `write_tx`."""
    for part in _parts(cids):
        _ACCEPTED.run(cids=part)


def may_have_been_taken(cid: str) -> bool:
    """Whether a frame of the job is out that its spoke did not refuse."""
    return IssuedFrame.select().where(IssuedFrame.cid == cid, ~IssuedFrame.refused).exists()


def _drop(which: Any) -> int:
    return int(
        Outbox.update(state=OutboxState.DEAD)
        .where(which, Outbox.kind == OutboxKind.COMMAND, Outbox.state.not_in(_SETTLED))
        .execute()
    )


def _parts(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + _ROWS_A_STATEMENT] for start in range(0, len(items), _ROWS_A_STATEMENT))
