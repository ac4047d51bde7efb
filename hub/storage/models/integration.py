"""What others are told over AMQP and how far they have been told; who may listen, and what was asked that way."""

from peewee import BigIntegerField, BooleanField, CharField, IntegerField, TextField

from hub.states import ConsumerState
from hub.storage.models.table import (
    AtField,
    BytesField,
    IdField,
    JsonField,
    RowId,
    SealedTable,
    StateField,
    Table,
    now_ms,
)


class EventSource(Table):
    """One numbering: `newest` is the number that its last event has, so the next is one more."""

    source = CharField(max_length=160, primary_key=True)
    project = IdField(null=True, index=True)
    newest = BigIntegerField()


class IntegrationEvent(Table):
    """A CloudEvent as it was published, byte for byte. `seq` is that of the event row which it was made of."""

    seq = BigIntegerField(primary_key=True)
    source = CharField(max_length=160)
    sequence = BigIntegerField()
    type = CharField(max_length=80)
    key = CharField(max_length=255)
    body = TextField()
    at = AtField(index=True)

    class Meta:
        indexes = ((("source", "sequence"), True),)


class EventCursor(Table):
    """One row, id 1: up to which event row others' events were made, and up to which the broker has confirmed them."""

    id = IntegerField(primary_key=True)
    made = BigIntegerField()
    published = BigIntegerField()


class Consumer(SealedTable):
    """An integration's account at the broker. `projects` None: it hears of all of them, and of the hub itself."""

    SEALED = ("name", "projects", "commands")

    id = RowId()
    name = CharField(max_length=100, unique=True)
    projects = JsonField(null=True)
    commands = BooleanField(default=False)  # Whether it may write to the commands exchange.
    state = StateField(ConsumerState, default=ConsumerState.WANTED, index=True)
    password_sealed = TextField(default="")
    created_by = IdField()
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class IntegrationCommand(Table):
    """A command that came over AMQP and its answer, so that the same key is answered alike and acts once."""

    id = RowId()
    actor = IdField()
    type = CharField(max_length=80)
    idempotency_key = CharField(max_length=100)
    answer_sealed = BytesField()
    at = AtField(default=now_ms, index=True)

    class Meta:
        indexes = ((("actor", "type", "idempotency_key"), True),)
