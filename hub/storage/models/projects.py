"""What is deployed and how: lifecycles, projects, variables, and releases as frozen snapshots."""

from peewee import SQL, BooleanField, CharField, IntegerField, TextField

from hub.states import VariableOwner
from hub.storage.models.table import (
    AtField,
    BytesField,
    HashField,
    IdField,
    JsonField,
    RefField,
    RowId,
    SealedTable,
    StateField,
    Table,
    now_ms,
)


class Lifecycle(SealedTable):
    SEALED = ("name", "phases")

    id = RowId()
    name = CharField(max_length=100, unique=True)
    description = TextField(default="")
    phases = JsonField(default=list)
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class Project(SealedTable):
    SEALED = ("name", "slug", "lifecycle", "process", "process_version")

    id = RowId()
    name = CharField(max_length=100, unique=True)
    slug = CharField(max_length=100, unique=True)
    description = TextField(default="")
    lifecycle = RefField(Lifecycle, on_delete="RESTRICT")
    group = CharField(max_length=100, default="")
    concurrency = CharField(default="", constraints=[SQL("DEFAULT ''")])  # As typed: hub/projects/concurrency.py.
    tasks_at_once = IntegerField(null=True)  # Null: as many as the hub's limits say.
    process = JsonField(default=list)
    process_version = IntegerField(default=1)
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class VariableSet(Table):
    id = RowId()
    name = CharField(max_length=100, unique=True)
    description = TextField(default="")
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class ProjectVariableSet(Table):
    id = RowId()
    project = RefField(Project, on_delete="CASCADE")
    variable_set = RefField(VariableSet, on_delete="RESTRICT")
    position = IntegerField(default=0)  # The first set wins over the later ones.

    class Meta:
        indexes = ((("project", "variable_set"), True),)


class Variable(SealedTable):
    SEALED = ("owner_kind", "owner", "name", "value", "value_sealed", "value_version", "secret", "scope", "expose_env")

    id = RowId()
    owner_kind = StateField(VariableOwner)
    owner = IdField()  # A project's or a variable set's id.
    name = CharField(max_length=200)
    value = TextField(default="")
    value_sealed = TextField(null=True)
    value_version = IntegerField(default=1)  # Bumped when the value changes; bound into its ciphertext.
    secret = BooleanField(default=False)
    expose_env = BooleanField(default=False)  # Also an environment variable of scripts: every child of theirs reads it.
    scope = JsonField(default=dict)
    description = TextField(default="")
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)

    class Meta:
        indexes = ((("owner", "name"), False),)


class Release(SealedTable):
    SEALED = ("project", "version", "snapshot_sha256", "packages")

    id = RowId()
    project = RefField(Project, on_delete="CASCADE")
    version = CharField(max_length=100)
    version_sort = CharField(max_length=400, default="")  # Text whose order is the order of versions.
    notes = TextField(default="")
    snapshot = BytesField()  # Process and variables as they were, secrets still sealed.
    snapshot_sha256 = HashField()
    packages = JsonField(default=dict)
    created_at = AtField(default=now_ms)
    created_by = IdField(null=True)

    class Meta:
        indexes = ((("project", "version"), True),)
