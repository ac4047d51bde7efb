"""What integrations ask for: judged as a request over REST is, done once, answered, and refused with reasons.

    fences of the broker -> form -> token -> key used before? -> the operation    one transaction, one commit
                                                              -> answer, dead letter -> acknowledge

The broker vouches for the account alone; who asks is whoever the API token belongs to, and the token must be limited to
scopes. What is answered twice, because the hub died before it acknowledged, is answered alike and was done once.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Any

from peewee import IntegrityError

from hub.access import api_keys
from hub.access.caller import Caller
from hub.api import strict_json
from hub.errors import Conflict, HubError, Invalid, NotAllowed, NotSignedIn, TooLarge
from hub.events.record import record
from hub.integration.cloud_event import CloudEvent, properties_of
from hub.integration.command_types import (
    ANSWER_NAME,
    ANSWER_TYPE,
    BY_TYPE,
    CommandAnswer,
    CommandEnvelope,
    CommandType,
    Outcome,
)
from hub.integration.dead_letters import dead_letter
from hub.integration.numbering import Origin
from hub.operations.asking import ANSWER_PURPOSE
from hub.operations.catalogue import CATALOGUE
from hub.operations.context import Context
from hub.operations.operation import perform, validated
from hub.states import ConsumerState
from hub.storage.database import connection, write_tx
from hub.storage.models import Consumer, IntegrationCommand, new_row_id
from hub.storage.models.table import canonical_json
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.connection import Connection, Delivery, Outgoing, Subscription
from wire.crash import crash_point
from wire.errors import ConnectionLost, WireError
from wire.integration_topology import ANSWERS, HUB_COMMANDS, answers_queue, consumer_of

JsonObject = dict[str, Any]

logger = logging.getLogger(__name__)

PREFETCH = 20
MAX_BYTES = 64 * 1024
KEEP_MS = 30 * 24 * 3600 * 1000
# Whoever kills the hub so often with one message does not get another try.
MAX_DELIVERIES = 20
_TAKE_S = 0.5
_SEND_S = 60.0
_DELIVERIES_HEADER = "x-delivery-count"
_MEDIA_TYPE = "application/cloudevents+json"
TOKEN_HEADER = "authorization"  # noqa: S105  The header's name.


@dataclass(frozen=True, slots=True)
class CommandParts:
    """`context`: for an operation in somebody's name. `wake`: there may be something to send, after a commit."""

    link: Callable[[], Connection | None]
    vault: Vault
    seals: RowSeals
    context: Callable[[Caller], Context]
    origin: Callable[[], Origin]
    wake: Callable[[], None]
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Sender:
    """Which consumer's account it came from. `answer_to` "": nobody waits for an answer."""

    consumer: Consumer
    answer_to: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Command:
    """One that is well formed."""

    envelope: CommandEnvelope
    type: CommandType
    caller: Caller
    consumer: str

    @property
    def digest(self) -> str:
        """Of what it asks for."""
        return hashlib.sha256(canonical_json([self.envelope.type, self.envelope.data]).encode()).hexdigest()


class CommandDesk:
    """One thread's work; `run` is a loop of the engine's."""

    def __init__(self, parts: CommandParts) -> None:
        self._parts = parts

    def run(self, stop: Event) -> None:
        """Take commands until told to stop; while the connection is not there, wait for it."""
        while not stop.is_set():
            link = self._parts.link()
            if link is None:
                stop.wait(_TAKE_S)
                continue
            subscription = link.consume(HUB_COMMANDS, prefetch=PREFETCH)
            try:
                while not stop.is_set() and self._parts.link() is link:
                    self._take(link, subscription, stop)
            finally:
                subscription.close()

    def handle(self, link: Connection, delivery: Delivery) -> CommandAnswer:
        """Judge one message, do what it asks, answer it.

        Raises:
            ConnectionLost: nobody knows whether it was answered: it must come again.
        """
        sender: Sender | None = None
        command_id = ""
        try:
            with connection():
                sender = self._sender(delivery)
                envelope = _envelope(delivery.body)
                command_id = envelope.id
                answer = self._done(self._command(delivery, sender, envelope))
        except HubError as error:
            answer = _refusal(command_id, error)
        crash_point("command.done")
        if sender is not None and sender.answer_to:
            self._answer(link, sender, answer)
        if answer.outcome is not Outcome.ACCEPTED and not answer.duplicate:
            logger.warning("command refused", extra={"user": delivery.user_id, "code": answer.code})
            _send(link, dead_letter(delivery, str(answer.code), str(answer.detail)))
        return answer

    def tidy(self) -> int:
        """Forget commands of last month; their keys with them."""
        before = self._parts.clock_ms() - KEEP_MS
        with write_tx():
            gone: int = IntegrationCommand.delete().where(IntegrationCommand.at < before).execute()
        return gone

    def _take(self, link: Connection, subscription: Subscription, stop: Event) -> None:
        for delivery in subscription.take(PREFETCH, _TAKE_S):
            try:
                self.handle(link, delivery)
            except Exception:
                # The top of the loop: one bad command must not stop the others. It comes again, a few times.
                logger.exception("a command could not be answered")
                stop.wait(_TAKE_S)
                subscription.reject(delivery, requeue=True)
            else:
                crash_point("command.answered")
                subscription.ack([delivery])

    # Who sends it, and whether it is a command

    def _sender(self, delivery: Delivery) -> Sender:
        """By the name that the broker vouches for."""
        said = delivery.properties
        if said is None or not said.content_type.startswith(_MEDIA_TYPE) or delivery.suspicious:
            raise Invalid(f"expected {_MEDIA_TYPE} and at most 16 headers, no CC", code="PROPERTIES")
        if int(said.headers.get(_DELIVERIES_HEADER, "0")) >= MAX_DELIVERIES:
            raise Invalid("the hub ended each time that it worked on this", code="POISON")
        found = consumer_of(delivery.user_id)
        row: Consumer | None = Consumer.get_or_none(Consumer.id == found) if found else None
        if row is None or row.state is ConsumerState.REMOVED:
            raise NotAllowed(
                "expected user_id to be the broker user of a consumer", field="user_id", code="NO_CONSUMER"
            )
        self._parts.seals.check(row)
        if not row.commands:
            raise NotAllowed("this consumer may not send commands", code="NO_COMMANDS")
        if said.reply_to not in {"", answers_queue(row.id)}:
            raise Invalid(f"answers go to {answers_queue(row.id)}, or nowhere", field="reply_to", code="REPLY_TO")
        return Sender(row, said.reply_to, (said.correlation_id or delivery.message_id)[:200])

    def _command(self, delivery: Delivery, sender: Sender, envelope: CommandEnvelope) -> Command:
        found = BY_TYPE.get(envelope.type)
        if found is None:
            raise Invalid(f"expected one of {', '.join(BY_TYPE)}", field="type", code="UNKNOWN_TYPE")
        if delivery.key != found.key:
            raise Invalid(f"a command of this type has the routing key {found.key}", field="type", code="ROUTING_KEY")
        assert delivery.properties is not None
        caller = self._caller(delivery.properties.headers.get(TOKEN_HEADER, ""))
        validated(found.body, envelope.data)
        return Command(envelope, found, caller, sender.consumer.id)

    def _caller(self, header: str) -> Caller:
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer":
            raise NotSignedIn(f"expected a header {TOKEN_HEADER} with Bearer mak_…")
        caller = api_keys.caller_by(token, self._parts.seals, self._parts.clock_ms())
        if caller.scopes is None:
            # It lies in queues that others run: what it may do must have been said when it was made.
            raise NotAllowed("expected an API key that is limited to scopes", code="TOKEN_NOT_SCOPED")
        return caller

    # What is done

    def _done(self, command: Command) -> CommandAnswer:
        earlier = self._earlier(command)
        if earlier is not None:
            return earlier
        if _is_past(command.envelope.expirytime, self._parts.clock_ms()):
            raise Invalid("this command came too late; nothing was done", field="expirytime", code="EXPIRED")
        try:
            return self._performed(command)
        except IntegrityError:
            # Another engine was at the same key at the same moment; what we did is rolled back.
            earlier = self._earlier(command)
            if earlier is None:
                raise
            return earlier

    def _performed(self, command: Command) -> CommandAnswer:
        operation = CATALOGUE[command.type.operation]
        try:
            with write_tx():
                request = command.type.request(command.envelope.data)
                _, reply = perform(operation, self._parts.context(command.caller), request)
                answer = CommandAnswer(
                    command=command.envelope.id,
                    outcome=Outcome.ACCEPTED,
                    duplicate=False,
                    deployment=reply.get("id") or command.envelope.data.get("deployment"),
                    task=reply.get("task"),
                )
                self._keep(command, answer)
        except HubError as error:
            answer = _refusal(command.envelope.id, error)
            with write_tx():
                record(
                    operation.name,
                    f"consumer:{command.consumer}",
                    actor=f"user:{command.caller.user_id}",
                    outcome="failed" if error.status >= 500 else "refused",
                    detail={"code": error.code, "credential": f"api-key:{command.caller.credential.id}"},
                )
                if error.status < 500:
                    self._keep(command, answer)
        else:
            self._parts.wake()
        return answer

    def _earlier(self, command: Command) -> CommandAnswer | None:
        """The first answer, if the key was used before.

        Raises:
            Conflict: it was used for something else.
        """
        row = IntegrationCommand.get_or_none(
            (IntegrationCommand.actor == command.caller.user_id)
            & (IntegrationCommand.type == command.type.name)
            & (IntegrationCommand.idempotency_key == command.envelope.idempotencykey)
        )
        if row is None:
            return None
        kept = json.loads(self._parts.vault.open_block(ANSWER_PURPOSE, _place(row.id), row.answer_sealed))
        if kept["digest"] != command.digest:
            raise Conflict(
                "this idempotencykey was used for another command; take a new one",
                field="idempotencykey",
                code="IDEMPOTENCY_KEY_REUSED",
            )
        first = CommandAnswer.model_validate_json(json.dumps(kept["answer"]))
        return first.model_copy(update={"command": command.envelope.id, "duplicate": True})

    def _keep(self, command: Command, answer: CommandAnswer) -> None:
        row_id = new_row_id()
        kept = canonical_json({"digest": command.digest, "answer": answer.model_dump(mode="json")})
        IntegrationCommand.insert(
            id=row_id,
            actor=command.caller.user_id,
            type=command.type.name,
            idempotency_key=command.envelope.idempotencykey,
            answer_sealed=self._parts.vault.seal_block(ANSWER_PURPOSE, _place(row_id), kept.encode()),
            at=self._parts.clock_ms(),
        ).execute()

    # What is answered

    def _answer(self, link: Connection, sender: Sender, answer: CommandAnswer) -> None:
        origin, now_ms = self._parts.origin(), self._parts.clock_ms()
        event = CloudEvent(
            id=new_row_id(),
            source=origin.source(None),
            type=ANSWER_TYPE,
            subject=f"commands/{answer.command}" if answer.command else "",
            at_ms=now_ms,
            sequence=0,
            data_schema=origin.schema(ANSWER_NAME),
            correlation_id=sender.correlation_id,
            data=answer.model_dump(mode="json"),
        )
        _send(
            link,
            Outgoing(
                exchange=ANSWERS,
                key=sender.answer_to,
                body=event.text().encode(),
                message_id=event.id,
                properties=properties_of(event.attributes, origin.hub_id, now_ms),
            ),
        )


def _send(link: Connection, message: Outgoing) -> None:
    """Confirmed; a queue that is gone or full is its owner's loss, who may ask again.

    Raises:
        ConnectionLost: nobody knows.
    """
    try:
        link.publish(message).result(_SEND_S)
    except ConnectionLost:
        raise
    except WireError as error:
        logger.warning("an answer was not taken", extra={"key": message.key, "reason": str(error)})


def _refusal(command_id: str, error: HubError) -> CommandAnswer:
    return CommandAnswer(
        command=command_id,
        outcome=Outcome.EXPIRED if error.code == "EXPIRED" else Outcome.REFUSED,
        duplicate=False,
        code=error.code,
        detail=error.detail[:500],
        field=error.field,
    )


def _envelope(body: bytes) -> CommandEnvelope:
    if len(body) > MAX_BYTES:
        raise TooLarge(f"a command has at most {MAX_BYTES} bytes")
    try:
        return validated(CommandEnvelope, strict_json.parse(body))
    except strict_json.NotStrictJson as error:
        raise Invalid(str(error), field=error.field or None, code="NOT_JSON") from error


def _is_past(text: str | None, now_ms: int) -> bool:
    if text is None:
        return False
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Invalid("expected a time as RFC 3339 has it, with Z or an offset", field="expirytime")
    return at.timestamp() * 1000 <= now_ms


def _place(row_id: str) -> tuple[str, ...]:
    return ("integration-command", row_id)
