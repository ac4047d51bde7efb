"""Tasks, jobs, the outbox, timers, logs."""

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


# Tables of earlier migrations, as far as they are pointed at.
class Project(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "project"


class Environment(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "environment"


class Release(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "release"


class Target(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "target"


class Spoke(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "spoke"


class Task(Model):
    id = CharField(primary_key=True, max_length=32)
    kind = CharField(max_length=24)
    title = CharField(max_length=250)
    state = CharField(max_length=24)
    project = ForeignKeyField(Project, null=True, on_delete="CASCADE")
    environment = ForeignKeyField(Environment, null=True, on_delete="RESTRICT")
    release = ForeignKeyField(Release, null=True, on_delete="CASCADE")
    created_at = BigIntegerField()
    created_by = CharField(max_length=32, null=True)
    started_at = BigIntegerField(null=True)
    ended_at = BigIntegerField(null=True)
    waiting_for = TextField()
    deadline_at = BigIntegerField(null=True)
    failure = TextField()
    log_lines = IntegerField()
    retry_of = CharField(max_length=32, null=True)
    version = IntegerField()

    class Meta:
        table_name = "task"
        indexes = ((("state", "created_at"), False), (("created_at",), False))


class Deployment(Model):
    id = CharField(primary_key=True, max_length=32)
    task = ForeignKeyField(Task, unique=True, on_delete="CASCADE")
    project = ForeignKeyField(Project, on_delete="CASCADE")
    release = ForeignKeyField(Release, on_delete="CASCADE")
    environment = ForeignKeyField(Environment, on_delete="RESTRICT")
    previous_release = CharField(max_length=32, null=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "deployment"
        indexes = ((("project", "environment", "created_at"), False),)


class Plan(Model):
    task = ForeignKeyField(Task, primary_key=True, on_delete="CASCADE")
    body = BlobField()
    sha256 = CharField(max_length=64)

    class Meta:
        table_name = "plan"


class Progress(Model):
    task = ForeignKeyField(Task, primary_key=True, on_delete="CASCADE")
    body = TextField()
    version = IntegerField()

    class Meta:
        table_name = "progress"


class Job(Model):
    id = CharField(primary_key=True, max_length=32)
    task = ForeignKeyField(Task, on_delete="CASCADE")
    step_index = IntegerField()
    step = CharField(max_length=200)
    target = ForeignKeyField(Target, null=True, on_delete="SET NULL")
    target_name = CharField(max_length=100)
    spoke = ForeignKeyField(Spoke, null=True, on_delete="SET NULL")
    attempt = IntegerField()
    state = CharField(max_length=24)
    exit_code = IntegerField(null=True)
    message = TextField()
    created_at = BigIntegerField()
    sent_at = BigIntegerField(null=True)
    accepted_at = BigIntegerField(null=True)
    started_at = BigIntegerField(null=True)
    ended_at = BigIntegerField(null=True)
    deadline_at = BigIntegerField(null=True)
    log_next_record = BigIntegerField()
    log_chain = CharField(max_length=64)
    log_bytes = BigIntegerField()
    records = BigIntegerField(null=True)
    chain = CharField(max_length=64, null=True)
    log_state = CharField(max_length=24)
    log_gaps = TextField()
    result_sha256 = CharField(max_length=64, null=True)

    class Meta:
        table_name = "job"
        indexes = ((("spoke", "state"), False),)


class OutputVariable(Model):
    id = CharField(primary_key=True, max_length=32)
    task = ForeignKeyField(Task, on_delete="CASCADE")
    job = ForeignKeyField(Job, on_delete="CASCADE")
    step = CharField(max_length=200)
    target = CharField(max_length=100)
    name = CharField(max_length=200)
    value = TextField()
    value_sealed = TextField(null=True)
    secret = BooleanField()

    class Meta:
        table_name = "output_variable"


class Outbox(Model):
    id = BigAutoField()
    kind = CharField(max_length=24)
    spoke = ForeignKeyField(Spoke, null=True, on_delete="CASCADE")
    cid = CharField(max_length=32, null=True, index=True)
    state = CharField(max_length=24)
    body = BlobField(null=True)
    mid = CharField(max_length=32, null=True)
    seq = BigIntegerField(null=True)
    ses = CharField(max_length=32, null=True)
    frame_sha256 = CharField(max_length=64, null=True)
    created_at = BigIntegerField()
    published_at = BigIntegerField(null=True)
    expires_at = BigIntegerField(null=True)
    attempts = IntegerField()

    class Meta:
        table_name = "outbox"
        indexes = ((("state", "id"), False),)


class IssuedFrame(Model):
    frame_sha256 = CharField(primary_key=True, max_length=64)
    cid = CharField(max_length=32, index=True)
    mid = CharField(max_length=32)
    spoke = CharField(max_length=32)
    ses = CharField(max_length=32)
    issued_at = BigIntegerField()

    class Meta:
        table_name = "issued_frame"


class Timer(Model):
    id = CharField(primary_key=True, max_length=32)
    task = ForeignKeyField(Task, on_delete="CASCADE")
    name = CharField(max_length=100)
    due_at = BigIntegerField(index=True)

    class Meta:
        table_name = "timer"
        indexes = ((("task", "name"), True),)


class Artifact(Model):
    id = CharField(primary_key=True, max_length=32)
    task = ForeignKeyField(Task, on_delete="CASCADE")
    job = ForeignKeyField(Job, on_delete="CASCADE")
    name = CharField(max_length=250)
    size = BigIntegerField()
    sha256 = CharField(max_length=64)
    state = CharField(max_length=24)
    created_at = BigIntegerField()

    class Meta:
        table_name = "artifact"


class Quarantine(Model):
    id = BigAutoField()
    at = BigIntegerField()
    source = CharField(max_length=200)
    code = CharField(max_length=40)
    head = BlobField()

    class Meta:
        table_name = "quarantine"


class LogBlock(Model):
    id = CharField(primary_key=True, max_length=32)
    task = ForeignKeyField(Task, on_delete="CASCADE")
    first_line = IntegerField()
    lines = IntegerField()
    first_at = BigIntegerField()
    last_at = BigIntegerField()
    step = CharField(max_length=200)
    target = CharField(max_length=100)
    job = CharField(max_length=32, null=True)
    bytes_plain = IntegerField()
    sealed = BlobField()

    class Meta:
        table_name = "log_block"
        indexes = ((("task", "first_line"), True),)


TABLES = (
    Task,
    Deployment,
    Plan,
    Progress,
    Job,
    OutputVariable,
    Outbox,
    IssuedFrame,
    Timer,
    Artifact,
    Quarantine,
    LogBlock,
)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=True, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
