"""Events for others: their numbering, the events as published, how far; consumers, and commands that came by AMQP.

What happened before this migration was told to nobody: others hear of what comes after it.
"""

from peewee import BigIntegerField, BlobField, BooleanField, CharField, IntegerField, Model, TextField, fn


class Event(Model):
    seq = BigIntegerField(primary_key=True)

    class Meta:
        table_name = "event"


class EventSource(Model):
    source = CharField(max_length=160, primary_key=True)
    project = CharField(max_length=32, null=True, index=True)
    newest = BigIntegerField()

    class Meta:
        table_name = "event_source"


class IntegrationEvent(Model):
    seq = BigIntegerField(primary_key=True)
    source = CharField(max_length=160)
    sequence = BigIntegerField()
    type = CharField(max_length=80)
    key = CharField(max_length=255)
    body = TextField()
    at = BigIntegerField(index=True)

    class Meta:
        table_name = "integration_event"
        indexes = ((("source", "sequence"), True),)


class EventCursor(Model):
    id = IntegerField(primary_key=True)
    made = BigIntegerField()
    published = BigIntegerField()

    class Meta:
        table_name = "event_cursor"


class Consumer(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, unique=True)
    projects = TextField(null=True)
    commands = BooleanField(default=False)
    state = CharField(max_length=24, index=True)
    password_sealed = TextField(default="")
    created_by = CharField(max_length=32)
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "consumer"


class IntegrationCommand(Model):
    id = CharField(primary_key=True, max_length=32)
    actor = CharField(max_length=32)
    type = CharField(max_length=80)
    idempotency_key = CharField(max_length=100)
    answer_sealed = BlobField()
    at = BigIntegerField(index=True)

    class Meta:
        table_name = "integration_command"
        indexes = ((("actor", "type", "idempotency_key"), True),)


TABLES = (EventSource, IntegrationEvent, EventCursor, Consumer, IntegrationCommand)


def up(migrator, db):
    with db.bind_ctx((Event, *TABLES), bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)
        newest = Event.select(fn.MAX(Event.seq)).scalar() or 0
        EventCursor.create(id=1, made=newest, published=newest)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
