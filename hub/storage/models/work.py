"""What is being done: tasks, their plans and progress, jobs, the outbox, timers, and what jobs brought back."""

from peewee import SQL, BigAutoField, BigIntegerField, BooleanField, CharField, IntegerField, TextField

from hub.states import ArtifactState, FetchState, JobState, LogState, OutboxKind, OutboxState, TaskKind, TaskState
from hub.storage.models.infrastructure import Environment, Spoke, Target
from hub.storage.models.projects import Project, Release
from hub.storage.models.table import (
    AtField,
    BytesField,
    HashField,
    IdField,
    JsonField,
    RefField,
    RowId,
    StateField,
    Table,
    now_ms,
)


class Task(Table):
    id = RowId()
    kind = StateField(TaskKind)
    title = CharField(max_length=250)
    state = StateField(TaskState, default=TaskState.QUEUED)
    project = RefField(Project, null=True, on_delete="CASCADE")
    environment = RefField(Environment, null=True, on_delete="RESTRICT")
    release = RefField(Release, null=True, on_delete="CASCADE")
    created_at = AtField(default=now_ms)
    created_by = IdField(null=True)
    started_at = AtField(null=True)
    ended_at = AtField(null=True)
    waiting_for = TextField(default="")
    deadline_at = AtField(null=True)
    failure = TextField(default="")
    log_lines = IntegerField(default=0)  # How many lines its log has; they count from 1.
    retry_of = IdField(null=True)
    priority = IntegerField(default=1, constraints=[SQL("DEFAULT 1")])  # hub/states.py: Priority.
    concurrency_key = CharField(default="", constraints=[SQL("DEFAULT ''")])  # Two with one never run together.
    parent = IdField(null=True)  # The task that waits for this one.
    cleared_at = AtField(null=True)  # Since when its log, plan and files are gone: hub/orchestrator/retention.py.
    version = IntegerField(default=1)

    class Meta:
        indexes = ((("state", "created_at"), False), (("created_at",), False))


class Deployment(Table):
    id = RowId()
    task = RefField(Task, unique=True, on_delete="CASCADE")
    project = RefField(Project, on_delete="CASCADE")
    release = RefField(Release, on_delete="CASCADE")
    environment = RefField(Environment, on_delete="RESTRICT")
    previous_release = IdField(null=True)
    rollback = BooleanField(default=False)  # It went back to a release that was there before.
    created_at = AtField(default=now_ms)

    class Meta:
        indexes = ((("project", "environment", "created_at"), False),)


class Plan(Table):
    """The whole plan, sealed as a block: it names packages and their keys."""

    task = RefField(Task, primary_key=True, on_delete="CASCADE")
    body = BytesField()
    sha256 = HashField()


class Progress(Table):
    task = RefField(Task, primary_key=True, on_delete="CASCADE")
    body = JsonField()
    version = IntegerField(default=1)


class Job(Table):
    """One step on one target. The id is the `cid` of the wire, made in the plan.

    `deadline_at`: until then its spoke may take it. `run_deadline_at`: then its machine ends the run. `gives_up_at`:
    then the hub waits no longer in the present state. `ended_processes`, `survivors`: what its machine ended of it, and
    what it could not end.
    """

    id = RowId()
    task = RefField(Task, on_delete="CASCADE")
    step_index = IntegerField()
    step = CharField(max_length=200)
    target = RefField(Target, null=True, on_delete="SET NULL")
    target_name = CharField(max_length=100, default="")
    spoke = RefField(Spoke, null=True, on_delete="SET NULL")
    attempt = IntegerField(default=1)
    state = StateField(JobState, default=JobState.PLANNED)
    exit_code = IntegerField(null=True)
    message = TextField(default="")
    created_at = AtField(default=now_ms)
    sent_at = AtField(null=True)
    accepted_at = AtField(null=True)
    started_at = AtField(null=True)
    ended_at = AtField(null=True)
    deadline_at = AtField(null=True)
    run_deadline_at = AtField(null=True)
    gives_up_at = AtField(null=True)
    ended_processes = IntegerField(null=True)
    survivors = JsonField(null=True)
    log_next_record = BigIntegerField(default=0)
    log_chain = HashField(default="0" * 64)
    log_bytes = BigIntegerField(default=0)
    records = BigIntegerField(null=True)  # As the result says.
    chain = HashField(null=True)
    log_state = StateField(LogState, default=LogState.OPEN)
    log_gaps = JsonField(default=list)  # [first, last, chain before, chain after] of spool records that never came.
    result_sha256 = HashField(null=True)

    class Meta:
        indexes = ((("spoke", "state"), False),)


class LogFetch(Table):
    """What never came of one job's log, until it is here or missing for good.

    `asked`: the order under which its spoke is asked for it now; `answer`: why there is nothing more to be had, or what
    the last try came to.
    """

    id = RowId()
    job = RefField(Job, unique=True, on_delete="CASCADE")
    task = RefField(Task, on_delete="CASCADE")
    state = StateField(FetchState, default=FetchState.OPEN)
    asked = IdField(null=True, index=True)
    attempts = IntegerField(default=0)
    answer = TextField(default="")
    created_at = AtField(default=now_ms)
    due_at = AtField()
    deadline_at = AtField()

    class Meta:
        indexes = ((("state", "due_at"), False),)


class OutputVariable(Table):
    id = RowId()
    task = RefField(Task, on_delete="CASCADE")
    job = RefField(Job, on_delete="CASCADE")
    step = CharField(max_length=200)
    target = CharField(max_length=100, default="")
    name = CharField(max_length=200)
    value = TextField(default="")
    value_sealed = TextField(null=True)
    secret = BooleanField(default=False)


class Outbox(Table):
    """What must go out, until it is confirmed: the job with secret references, never a sealed frame with values."""

    id = BigAutoField()
    kind = StateField(OutboxKind)
    spoke = RefField(Spoke, null=True, on_delete="CASCADE")
    cid = IdField(null=True, index=True)
    state = StateField(OutboxState, default=OutboxState.WAITING)
    body = BytesField(null=True)
    mid = IdField(null=True)
    seq = BigIntegerField(null=True)
    ses = IdField(null=True)
    frame_sha256 = HashField(null=True)
    created_at = AtField(default=now_ms)
    published_at = AtField(null=True)
    expires_at = AtField(null=True)
    attempts = IntegerField(default=0)

    class Meta:
        indexes = ((("state", "id"), False),)


class IssuedFrame(Table):
    """Every frame that went out for a job: a result must answer one of them by its hash.

    `refused`: its spoke said that it does nothing with it, and that it knows nothing of the job.
    """

    frame_sha256 = HashField(primary_key=True)
    cid = IdField(index=True)
    mid = IdField()
    spoke = IdField()
    ses = IdField()
    issued_at = AtField(default=now_ms)
    refused = BooleanField(default=False)


class Timer(Table):
    id = RowId()
    task = RefField(Task, on_delete="CASCADE")
    name = CharField(max_length=100)
    due_at = AtField(index=True)

    class Meta:
        indexes = ((("task", "name"), True),)


class Artifact(Table):
    id = RowId()
    task = RefField(Task, on_delete="CASCADE")
    job = RefField(Job, on_delete="CASCADE")
    name = CharField(max_length=250)
    size = BigIntegerField()
    sha256 = HashField()
    state = StateField(ArtifactState, default=ArtifactState.EXPECTED)
    created_at = AtField(default=now_ms)


class Quarantine(Table):
    """The heads of frames that nobody honest sent; a ring of 100."""

    id = BigAutoField()
    at = AtField(default=now_ms)
    source = CharField(max_length=200)
    code = CharField(max_length=40)
    head = BytesField()
