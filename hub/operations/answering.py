"""The engine's side of every change: takes intents, checks who asks, runs the operation in one transaction, answers.

    claim the row - open the frame - who asks, now? - perform - answer in the row        one transaction, one commit

An intent that was refused leaves an event and an answer. With the broker down the rows are found by a sweep, within a
second; the row decides, so a message that comes twice or late changes nothing.
"""

import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.access.caller import Caller, caller_of
from hub.errors import HubError, Invalid, Unavailable
from hub.events.record import record
from hub.operations import setting_up
from hub.operations.asking import ANSWER_PURPOSE, answer_context
from hub.operations.catalogue import CATALOGUE
from hub.operations.context import Context, Joining
from hub.operations.operation import Operation, perform
from hub.operations.sealed_values import SealedValueMisplaced, put_back
from hub.orchestrator.submitting import Orchestrator
from hub.states import IntentState
from hub.storage.database import connection, database_is_away, write_tx
from hub.storage.models import IntentRow
from hub.storage.prepared import Prepared, hole
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.step_kind import StepKind
from wire.connection import Connection, Subscription
from wire.crash import crash_point
from wire.errors import Refused
from wire.exchange import Received, open_intent
from wire.keys import BoxKey
from wire.messages import CredentialKind, Intent
from wire.roles import KeyDirectory
from wire.topology import HUB_INTENTS

JsonObject = dict[str, Any]

logger = logging.getLogger(__name__)

PREFETCH = 50
SWEEP_S = 1.0
# The sweep leaves a fresh row to its message, which is under way.
FRESH_MS = 250
KEEP_MS = 24 * 3600 * 1000
_TIDY_S = 3600.0
_HANDLED_MAX = 100_000

_CLAIM = Prepared(
    lambda: IntentRow.update(state=IntentState.FAILED).where(
        (IntentRow.id == hole("id")) & (IntentRow.state == IntentState.NEW)
    )
)
_ANSWERED = ("state", "status", "answer_sealed", "answered_at")
_ANSWER = Prepared(lambda: IntentRow.update({name: hole(name) for name in _ANSWERED}).where(IntentRow.id == hole("id")))


@dataclass(frozen=True, slots=True)
class AnsweringParts:
    """What the engine lends. The callables give what is valid now: keys and boxes rotate.

    `wake` tells the orchestrator, after a commit, that there may be something to send.
    """

    connection: Connection
    hub_id: Callable[[], str]
    keys: Callable[[], KeyDirectory]
    boxes: Callable[[], Sequence[BoxKey]]
    vault: Vault
    seals: RowSeals
    orchestrator: Orchestrator
    step_kinds: Callable[[], Mapping[str, StepKind]]
    joining: Callable[[], Joining]
    wake: Callable[[], None]
    allow_inner_targets: bool = False
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    keep_ms: int = KEEP_MS


class Answering:
    """One thread's work; `run` is a loop of the engine's."""

    def __init__(self, parts: AnsweringParts) -> None:
        self._parts = parts
        # A row that a database writer sets back to new is not run again while its frame is still valid.
        self._handled: OrderedDict[str, None] = OrderedDict()

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop; survives whatever an intent holds."""
        subscription = self._parts.connection.consume(HUB_INTENTS, prefetch=PREFETCH)
        swept = tidied = time.monotonic()
        try:
            while not stop.is_set():
                self._take(subscription)
                now = time.monotonic()
                if now - swept >= SWEEP_S:
                    swept = now
                    self._guarded(self.sweep)
                if now - tidied >= _TIDY_S:
                    tidied = now
                    self._guarded(self.tidy)
        finally:
            subscription.close()

    def handle(self, frame: bytes) -> str | None:
        """Run one intent, unless its row was answered already.

        Returns:
            The id of the row; None where nobody trustworthy sent the frame.
        """
        with connection():
            try:
                received = self._opened(frame)
            except Refused as error:
                logger.warning("intent refused", extra={"code": str(error.code), "ref": error.ref})
                if error.mid:
                    self._answer_unopened(error)
                return None
            intent_id = received.header.mid
            if intent_id not in self._handled and self._run(intent_id, received):
                self._remember(intent_id)
            return intent_id

    def sweep(self) -> int:
        """Run what waits in rows: its message is lost, or the broker is down."""
        before = self._parts.clock_ms() - FRESH_MS
        with connection():
            frames = [
                row.body_sealed
                for row in IntentRow.select(IntentRow.body_sealed)
                .where((IntentRow.state == IntentState.NEW) & (IntentRow.created_at <= before))
                .order_by(IntentRow.created_at)
                .limit(PREFETCH)
            ]
        for frame in frames:
            self.handle(frame)
        return len(frames)

    def tidy(self) -> int:
        """Forget intents of yesterday; their idempotency keys with them."""
        before = self._parts.clock_ms() - self._parts.keep_ms
        with write_tx():
            gone: int = IntentRow.delete().where(IntentRow.created_at < before).execute()
        return gone

    def _take(self, subscription: Subscription) -> None:
        deliveries = subscription.take(PREFETCH, SWEEP_S / 2)
        for delivery in deliveries:
            if delivery.suspicious:
                logger.warning("intent message dropped", extra={"user": delivery.user_id, "reason": "CC or BCC"})
                continue
            self._guarded(lambda frame=delivery.body: self.handle(frame))  # type: ignore[misc]  # bound at once
        subscription.ack(deliveries)

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            # The top of the loop: one bad intent must not stop the others; its row stays for the sweep.
            logger.exception("answering an intent failed")

    def _opened(self, frame: bytes) -> Received:
        parts = self._parts
        return open_intent(frame, parts.keys(), parts.boxes(), parts.hub_id(), parts.clock_ms() // 1000)

    def _run(self, intent_id: str, received: Received) -> bool:
        assert isinstance(received.body, Intent)
        intent = received.body
        try:
            with write_tx():
                if not self._claim(intent_id):
                    return False
                status, body = self._performed(intent)
                self._answer(intent_id, IntentState.DONE, status, body)
                crash_point("operation.performed")
            crash_point("operation.committed")
        except HubError as error:
            self._refuse(intent_id, intent, error)
        except Exception as error:
            if database_is_away(error):
                # Nothing was changed, and the row is new still: it is answered as soon as the database does.
                raise
            ref = secrets.token_hex(4)
            logger.exception("operation failed", extra={"operation": intent.operation, "ref": ref})
            self._refuse(intent_id, intent, HubError(f"something went wrong here; the hub's log has it under {ref}"))
        else:
            self._parts.wake()
        return True

    def _claim(self, intent_id: str) -> bool:
        """Whether the row is ours to answer. The update locks it: of two engines one goes on."""
        return _CLAIM.run(id=intent_id) == 1

    def _performed(self, intent: Intent) -> tuple[int, JsonObject]:
        operation = CATALOGUE.get(intent.operation)
        if operation is None:
            raise Invalid(f"there is no operation {intent.operation!r}")
        context = self.context(self._caller(intent))
        return perform(operation, context, self._request(operation, intent))

    def _caller(self, intent: Intent) -> Caller:
        # "local" is for commands beside the database, and for whoever brings the setup code instead of a name.
        if intent.credential.kind is CredentialKind.LOCAL:
            return setting_up.stranger(intent.operation)
        return caller_of(intent.credential, self._parts.clock_ms(), self._parts.seals)

    def _request(self, operation: Operation[Any], intent: Intent) -> JsonObject:
        try:
            return put_back(dict(intent.request), intent.sealed)
        except SealedValueMisplaced as error:
            raise Invalid(f"{operation.name} takes no secret at {error}") from error

    def context(self, caller: Caller) -> Context:
        """What an operation has at hand in the name of this caller."""
        parts = self._parts
        return Context(
            caller=caller,
            now_ms=parts.clock_ms(),
            vault=parts.vault,
            seals=parts.seals,
            orchestrator=parts.orchestrator,
            step_kinds=parts.step_kinds(),
            joining_now=parts.joining,
            allow_inner_targets=parts.allow_inner_targets,
        )

    def _answer(self, intent_id: str, state: IntentState, status: int, body: JsonObject) -> None:
        sealed = self._parts.vault.seal_block(
            ANSWER_PURPOSE, answer_context(intent_id), json.dumps(body).encode("utf-8")
        )
        _ANSWER.run(id=intent_id, state=state, status=status, answer_sealed=sealed, answered_at=self._parts.clock_ms())

    def _refuse(self, intent_id: str, intent: Intent, error: HubError) -> None:
        """The operation was rolled back; what is left of it is the answer and the event."""
        with write_tx():
            row = IntentRow.get_or_none(IntentRow.id == intent_id)
            record(
                intent.operation,
                f"intent:{intent_id}",
                actor=f"user:{row.actor}" if row else "system",
                outcome="failed" if error.status >= 500 else "refused",
                detail={"code": error.code, "credential": f"{intent.credential.kind}:{intent.credential.id}"},
            )
            self._answer(intent_id, IntentState.FAILED, error.status, problem_of(error))

    def _answer_unopened(self, error: Refused) -> None:
        """Its signature held, so its row is ours; it came too late, or is for another hub or time."""
        with write_tx():
            row = IntentRow.get_or_none((IntentRow.id == error.mid) & (IntentRow.state == IntentState.NEW))
            if row is not None:
                late = Unavailable("the engine did not come to this in time; ask again", code=str(error.code))
                self._answer(row.id, IntentState.FAILED, late.status, problem_of(late))

    def _remember(self, intent_id: str) -> None:
        self._handled[intent_id] = None
        while len(self._handled) > _HANDLED_MAX:
            self._handled.popitem(last=False)


def problem_of(error: HubError) -> JsonObject:
    """What an error says to whoever asked; the API makes its problem document of it."""
    found: JsonObject = {"code": error.code, "detail": error.detail}
    if error.field:
        found["field"] = error.field
    extra = getattr(error, "members", None)
    return found | dict(extra or {})
