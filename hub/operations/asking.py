"""The portal's side of every change: a signed, sealed intent as a row and a message, and the wait for its answer.

    row (new) -> message -> the engine runs it and writes the answer into the row -> read here, within milliseconds

The portal cannot read back what it has sealed. The row's unique key (who, operation, idempotency key) makes a repeated
request the same request.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peewee import IntegrityError

from hub.access.caller import Caller
from hub.errors import Conflict, Invalid, NotFound, TooLarge
from hub.operations.operation import Operation
from hub.operations.sealed_values import take_out
from hub.states import IntentState
from hub.storage.database import connection, write_tx
from hub.storage.models import IntentRow
from hub.storage.prepared import Prepared, hole
from hub.storage.vault import Vault
from wire.canonical import encode
from wire.connection import Connection, Outgoing
from wire.crash import crash_point
from wire.errors import Refused, WireError
from wire.exchange import TTL_S, Sealed, seal_intent
from wire.keys import BoxPublicKey, SigningKey, new_id
from wire.messages import Intent
from wire.topology import INTENT_KEY, INTENTS

JsonObject = dict[str, Any]

logger = logging.getLogger(__name__)

ANSWER_PURPOSE = "session"
# The first answers come within a few milliseconds; whoever waits longer waits for something slow.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.001, 0.1
_PATIENT_AFTER_S = 0.1

_FIELDS = ("id", "operation", "body_sealed", "actor", "idempotency_key", "request_sha256", "created_at", "state")
_KEEP = Prepared(lambda: IntentRow.insert({name: hole(name) for name in _FIELDS}))
_STATE = Prepared(
    lambda: IntentRow.select(IntentRow.state, IntentRow.status, IntentRow.answer_sealed).where(
        IntentRow.id == hole("id")
    )
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an intent. `status` 202: the engine has not come to it yet; ask again by the id."""

    intent: str
    status: int
    body: JsonObject
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Hub:
    """Whom intents go to, as of now: the box changes every month, the epoch at a restore."""

    hub_id: str
    epoch: int
    box: BoxPublicKey


def answer_context(intent: str) -> tuple[str, ...]:
    return ("intent-answer", intent)


class Asking:
    """Used by any number of threads. `signer`: the portal's key of the moment; keys are rotated."""

    def __init__(
        self,
        *,
        connection: Connection,
        signer: Callable[[], SigningKey],
        hub: Callable[[], Hub],
        vault: Vault,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._signer = signer
        self._hub = hub
        self._vault = vault
        self._clock_s = clock_s

    def ask(
        self,
        operation: Operation[Any],
        request: JsonObject,
        caller: Caller,
        idempotency_key: str = "",
        *,
        identity: JsonObject | None = None,
        wait_s: float = 5.0,
    ) -> Answer:
        """Ask the engine for one operation.

        Args:
            operation: Which.
            request: As typed, secrets included; validated already, and validated again by the engine.
            caller: Whose credential is named; the engine checks it anew.
            idempotency_key: "" makes every request a request of its own.
            identity: What makes two requests of one key the same request; None: all of it.
            wait_s: How long to wait for the answer.

        Raises:
            Conflict: the key was used for another request. TooLarge: it does not fit into one message.
        """
        key = idempotency_key or new_id()
        shown, secrets = take_out(request, operation.secrets(request))
        with connection():
            digest = self._digest(request if identity is None else identity)
            sealed = self._sealed(
                Intent(
                    operation=operation.name,
                    credential=caller.credential,
                    request=shown,
                    idempotency_key=key,
                    sealed=secrets,
                )
            )
            row = IntentRow(
                id=sealed.mid,
                operation=operation.name,
                body_sealed=sealed.frame,
                actor=caller.user_id,
                idempotency_key=key,
                request_sha256=digest,
            )
            earlier = self._keep(row)
            if earlier is None:
                crash_point("intent.kept")
                self._publish(sealed)
                crash_point("intent.published")
            elif earlier.request_sha256 != digest:
                raise Conflict(
                    "this Idempotency-Key was used for another request; take a new one", code="IDEMPOTENCY_KEY_REUSED"
                )
            return self._wait(earlier.id if earlier else row.id, wait_s, replayed=earlier is not None)

    def answer(self, caller: Caller, intent: str) -> Answer | None:
        """The present state of an intent of the caller's; None: there is none, or it is not his."""
        row = IntentRow.get_or_none((IntentRow.id == intent) & (IntentRow.actor == caller.user_id))
        if row is None:
            return None
        return self._read(row.id, replayed=False) or Answer(row.id, 202, {})

    def _sealed(self, intent: Intent) -> Sealed:
        hub = self._hub()
        try:
            return seal_intent(
                intent,
                signer=self._signer(),
                hub_box=hub.box,
                hub_id=hub.hub_id,
                epoch=hub.epoch,
                now_s=int(self._clock_s()),
            )
        except Refused as error:
            if error.field is not None:
                raise Invalid(error.detail, field=error.field) from error
            raise TooLarge(f"the request does not fit into one message: {error.detail}") from error

    def _digest(self, request: JsonObject) -> str:
        # Signed before it is hashed: a plain hash in the database would let a reader try out short secrets.
        return hashlib.sha256(self._signer().sign(b"manyarm/v1/request\0" + encode(request))).hexdigest()

    def _keep(self, row: IntentRow) -> IntentRow | None:
        """Insert the row; the earlier one where the key was used before, unless that one never came to anything."""
        try:
            with write_tx():
                _KEEP.run(**{name: getattr(row, name) for name in _FIELDS})
            return None
        except IntegrityError:
            same_key = (
                (IntentRow.actor == row.actor)
                & (IntentRow.operation == row.operation)
                & (IntentRow.idempotency_key == row.idempotency_key)
            )
            earlier: IntentRow = IntentRow.get(same_key)
        if earlier.state is IntentState.FAILED and (earlier.status or 500) >= 500:
            with write_tx():
                IntentRow.delete().where(
                    (IntentRow.id == earlier.id) & (IntentRow.state == IntentState.FAILED)
                ).execute()
                row.save(force_insert=True)
            return None
        return earlier

    def _publish(self, sealed: Sealed) -> None:
        # A broker that is away costs a second: the engine sweeps the rows.
        try:
            self._connection.publish(
                Outgoing(
                    INTENTS,
                    INTENT_KEY,
                    sealed.frame,
                    message_id=sealed.mid,
                    expiration_ms=TTL_S * 1000,
                    # The row is kept; a message that is lost costs the second until the sweep.
                    persistent=False,
                )
            )
        except WireError as error:
            logger.warning("intent left to the sweep", extra={"intent": sealed.mid, "reason": str(error)})

    def _wait(self, intent: str, wait_s: float, *, replayed: bool) -> Answer:
        started = time.monotonic()
        pause = _FIRST_WAIT_S
        while True:
            found = self._read(intent, replayed=replayed)
            if found is not None:
                return found
            waited = time.monotonic() - started
            if waited >= wait_s:
                return Answer(intent, 202, {}, replayed)
            time.sleep(min(pause, max(0.0, wait_s - waited)))
            if waited > _PATIENT_AFTER_S:
                pause = min(pause * 1.5, _LONGEST_WAIT_S)

    def _read(self, intent: str, *, replayed: bool) -> Answer | None:
        found = _STATE.first(id=intent)
        if found is None:
            raise NotFound("this was asked too long ago, or never")
        state, status, sealed = found
        if state == IntentState.NEW:
            return None
        plain = self._vault.open_block(ANSWER_PURPOSE, answer_context(intent), sealed or b"")
        return Answer(intent, status or 500, json.loads(plain), replayed)
