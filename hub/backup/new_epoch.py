"""What a hub does not go on with after it was put back to an earlier state, and how the others hear of it.

Between the backup and now it did things that it has forgotten. So a new epoch begins: spokes that have heard of it take
nothing from before. Nothing that waited in rows is done now, for it may have been done then: commands, intents,
deployments that a machine had missed. What was under way is asked of the spokes (hub/orchestrator/reckoning.py).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hub.acting import Acting
from hub.events.checkpoint import checkpoint_now
from hub.events.record import record
from hub.orchestrator.events import HubRestored
from hub.orchestrator.steering import Steering
from hub.orchestrator.task_store import TaskStore
from hub.states import TASK_ENDED, IntentState, OutboxState
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import installation, trust_chain
from hub.storage.models import (
    Installation,
    IntentRow,
    JoinToken,
    MissedDeployment,
    Outbox,
    Session,
    SpokeSession,
    Task,
)
from hub.trust.publishing import Published, actor_of, publish_trust
from hub.trust.resealing import BATCH as RESEALED_AT_ONCE
from wire.documents import FORWARD_MAX
from wire.roles import Role

# Epochs count seconds, so that two restores of one backup are two epochs, whoever does them.
_EPOCHS_SINCE_S = 1_577_836_800
# So many trust documents may have been published in the time that is forgotten, and one more for each hour of it.
_FORGOTTEN_DOCUMENTS = 300
_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Begun:
    """The new epoch. `sentence`: what somebody must do before commands go out again; "" for nothing."""

    epoch: int
    trust_version: int
    tasks: int
    sentence: str


def begin_epoch(context: Acting, *, forgot_since: int, words: str, above: int = 0) -> Begun:
    """Close the time before; inside `write_tx`.

    Args:
        context: Who acts, and when.
        forgot_since: UTC milliseconds of the state that it was put back to.
        words: For task logs and the audit: what happened.
        above: A version of the trust document that spokes are known to have.
    """
    row = installation()
    document = trust_chain().document
    epoch = max(row.epoch + 1, document.epoch + 1, context.now_ms // 1000 - _EPOCHS_SINCE_S)
    Installation.update(epoch=epoch, restored_at=context.now_ms, forgot_since=forgot_since).execute()
    published = _publish(context, epoch, above, words)
    _drop_what_waited(context)
    tasks = _reckon(context, words)
    detail = {"epoch": epoch, "forgot_since": forgot_since, "tasks": tasks, "trust": published.version}
    record("backup.restore", f"hub:{row.hub_id}", actor=actor_of(context), detail=detail)
    return Begun(epoch, published.version, tasks, published.sentence)


def close_the_past(context: Acting) -> None:
    """What follows a new epoch, in transactions of its own."""
    _revoke_codes(context)
    _sign_new_epoch(context)


def restored_words(forgot_since: int) -> str:
    """As people read it: in logs of tasks, in the audit."""
    return f"the hub was restored from a backup of {moment(forgot_since)}; what was done since is asked of the spokes"


def _sign_new_epoch(context: Acting) -> None:
    """A checkpoint of the new epoch: spokes that know a later one of the old epoch see that nobody rewrote the log."""
    row = installation()
    checkpoint_now(row.hub_id, row.epoch, signing_key(context.vault, Role.HUB_AUDIT), context.now_ms)


def _revoke_codes(context: Acting) -> None:
    """A join code of one use may have been used in the time that is forgotten: those that are open are closed."""
    while _revoke_some(context):
        continue


def _revoke_some(context: Acting) -> bool:
    """A few, for each stands in the event row of its transaction; whether there were any."""
    with write_tx():
        is_open = JoinToken.used_at.is_null() & JoinToken.revoked_at.is_null() & (JoinToken.expires_at > context.now_ms)
        tokens = list(JoinToken.select().where(is_open).limit(RESEALED_AT_ONCE))
        for token in tokens:
            token.revoked_at = context.now_ms
            context.seals.seal_end(token)
            token.save()
        if tokens:
            record("join-code.revoke", "hub", actor=actor_of(context), detail={"codes": len(tokens)})
    return bool(tokens)


def _publish(context: Acting, epoch: int, above: int, words: str) -> Published:
    """A document that is newer than any that spokes can know, however many there were."""
    held = trust_chain().document
    hours = max(0, context.now_ms // 1000 - held.issued) // _HOUR_S
    leap = min(_FORGOTTEN_DOCUMENTS + hours, FORWARD_MAX - 1)
    return publish_trust(
        context,
        lambda document: replace(document, epoch=epoch),
        reason=words,
        at_least=max(held.version + leap, above + 1),
    )


def _drop_what_waited(context: Acting) -> None:
    SpokeSession.delete().execute()
    Outbox.update(state=OutboxState.DEAD).where(Outbox.state.not_in([OutboxState.DONE, OutboxState.DEAD])).execute()
    IntentRow.update(state=IntentState.FAILED, answered_at=context.now_ms).where(
        IntentRow.state == IntentState.NEW
    ).execute()
    MissedDeployment.delete().execute()
    # Who had signed out since would be signed in again.
    Session.delete().execute()


def _reckon(context: Acting, words: str) -> int:
    """Tell every task that had not ended; how many those are."""
    unfinished: Any = Task.select(Task.id).where(Task.state.not_in(list(TASK_ENDED))).tuples()
    tasks = [task for (task,) in unfinished]
    steering = Steering(context.vault, TaskStore(context.vault), lambda: context.now_ms, _nobody)
    for task in tasks:
        steering.feed({task: [HubRestored(words)]})
    return len(tasks)


def _nobody() -> None:
    """No engine runs here that could be woken."""


def moment(at_ms: int) -> str:
    """As people read a time."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
