"""Work for machines that the SSH spoke cannot reach stays here: the spoke would take it, and fail at once.

Until a check gets through, the command is held; its deadline runs on, as it does for a spoke that is away.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from hub.infrastructure.target_health import check_soon
from hub.orchestrator.plan import DeploymentPlan
from hub.states import Health, JobState, OutboxKind, OutboxState
from hub.storage.models import Job, Outbox, Target
from wire.messages import Op

_AT_ONCE = 200


def hold(plan: DeploymentPlan, cids: Iterable[str]) -> None:
    """Of commands that were just put into the outbox, keep those back that would not arrive; inside `write_tx`."""
    if plan.steps[0].op != Op.RUN_JOB:
        return  # A check is how one finds out.
    jobs = {cid: plan.attempts[cid][0].target for cid in cids}
    ours = sorted({target.id for target in jobs.values() if target.endpoint.get("kind") == "ssh"})
    for start in range(0, len(ours), _AT_ONCE):
        part = ours[start : start + _AT_ONCE]
        for row in Target.select().where(Target.id.in_(part), Target.health == Health.UNAVAILABLE):
            _hold([cid for cid, target in jobs.items() if target.id == row.id])
            check_soon(row)


def release(row: Target) -> None:
    """It was reached: what was held goes out; inside `write_tx`."""
    waiting = [job.id for job in Job.select(Job.id).where(Job.target == row.id, Job.state == JobState.SENT)]
    Outbox.update(state=OutboxState.WAITING).where(Outbox.cid.in_(waiting), Outbox.state == OutboxState.HELD).execute()


def is_waited_for(row: Target) -> bool:
    held: Any = (
        Outbox.select(Outbox.id)
        .join(Job, on=(Job.id == Outbox.cid))
        .where(Job.target == row.id, Outbox.state == OutboxState.HELD)
    )
    return bool(held.exists())


def _hold(cids: Sequence[str]) -> None:
    Outbox.update(state=OutboxState.HELD).where(Outbox.cid.in_(cids), Outbox.kind == OutboxKind.COMMAND).execute()
