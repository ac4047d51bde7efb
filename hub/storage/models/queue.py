"""The queue of tasks: what is paused, and when each line of it had its last turn."""

from peewee import CharField, IntegerField, TextField

from hub.storage.models.infrastructure import Environment
from hub.storage.models.projects import Project
from hub.storage.models.table import AtField, IdField, RefField, RowId, Table, now_ms


class QueuePause(Table):
    """Nothing begins in the project, in the environment, in the one in the other; with neither, in the whole hub.

    `place`: both ids as one text, so that nothing is paused twice.
    """

    id = RowId()
    place = CharField(max_length=70, unique=True)
    project = RefField(Project, null=True, on_delete="CASCADE")
    environment = RefField(Environment, null=True, on_delete="CASCADE")
    reason = TextField(default="")
    paused_by = IdField(null=True)
    created_at = AtField(default=now_ms)


class QueueLine(Table):
    """The tasks of a project (null: of none) of one priority."""

    id = CharField(max_length=40, primary_key=True)
    project = RefField(Project, null=True, on_delete="CASCADE")
    priority = IntegerField()
    turn_at = AtField()
