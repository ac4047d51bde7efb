"""What never came of a log is looked after until it is here or missing for good; gaps know the chain around them."""

import json

from peewee import BigIntegerField, CharField, ForeignKeyField, IntegerField, Model, TextField

_NO_CHAIN = "0" * 64


# Tables of earlier migrations, as far as they are pointed at.
class Task(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "task"


class Job(Model):
    id = CharField(primary_key=True, max_length=32)
    log_state = CharField(max_length=24)
    log_gaps = TextField()

    class Meta:
        table_name = "job"


class LogFetch(Model):
    id = CharField(primary_key=True, max_length=32)
    job = ForeignKeyField(Job, unique=True, on_delete="CASCADE")
    task = ForeignKeyField(Task, on_delete="CASCADE")
    state = CharField(max_length=24)
    asked = CharField(max_length=32, null=True, index=True)
    attempts = IntegerField()
    answer = TextField()
    created_at = BigIntegerField()
    due_at = BigIntegerField()
    deadline_at = BigIntegerField()

    class Meta:
        table_name = "log_fetch"
        indexes = ((("state", "due_at"), False),)


def up(migrator, db):
    with db.bind_ctx((Task, Job, LogFetch), bind_refs=False, bind_backrefs=False):
        db.create_tables((LogFetch,), safe=False)
        _rewrite(lambda gaps: [[*gap[:2], _NO_CHAIN, _NO_CHAIN] for gap in gaps])


def down(migrator, db):
    with db.bind_ctx((Task, Job, LogFetch), bind_refs=False, bind_backrefs=False):
        db.drop_tables((LogFetch,), safe=False)
        _rewrite(lambda gaps: [gap[:2] for gap in gaps])


def _rewrite(change):
    """What is missing of older logs is missing for good: nobody knows which chain values lie around it."""
    for row in Job.select().where(Job.log_gaps != "[]"):
        Job.update(log_gaps=json.dumps(change(json.loads(row.log_gaps)), separators=(",", ":"))).where(
            Job.id == row.id
        ).execute()
