"""Lifecycles, projects, variables, releases."""

from peewee import BigIntegerField, BlobField, BooleanField, CharField, ForeignKeyField, IntegerField, Model, TextField


class Lifecycle(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, unique=True)
    description = TextField()
    phases = TextField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "lifecycle"


class Project(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, unique=True)
    slug = CharField(max_length=100, unique=True)
    description = TextField()
    lifecycle = ForeignKeyField(Lifecycle, on_delete="RESTRICT")
    group = CharField(max_length=100)
    process = TextField()
    process_version = IntegerField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "project"


class VariableSet(Model):
    id = CharField(primary_key=True, max_length=32)
    name = CharField(max_length=100, unique=True)
    description = TextField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "variable_set"


class ProjectVariableSet(Model):
    id = CharField(primary_key=True, max_length=32)
    project = ForeignKeyField(Project, on_delete="CASCADE")
    variable_set = ForeignKeyField(VariableSet, on_delete="RESTRICT")
    position = IntegerField()

    class Meta:
        table_name = "project_variable_set"
        indexes = ((("project", "variable_set"), True),)


class Variable(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    owner_kind = CharField(max_length=24)
    owner = CharField(max_length=32)
    name = CharField(max_length=200)
    value = TextField()
    value_sealed = TextField(null=True)
    value_version = IntegerField()
    secret = BooleanField()
    expose_env = BooleanField()
    scope = TextField()
    description = TextField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "variable"
        indexes = ((("owner", "name"), False),)


class Release(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    project = ForeignKeyField(Project, on_delete="CASCADE")
    version = CharField(max_length=100)
    version_sort = CharField(max_length=400)
    notes = TextField()
    snapshot = BlobField()
    snapshot_sha256 = CharField(max_length=64)
    packages = TextField()
    created_at = BigIntegerField()
    created_by = CharField(max_length=32, null=True)

    class Meta:
        table_name = "release"
        indexes = ((("project", "version"), True),)


TABLES = (Lifecycle, Project, VariableSet, ProjectVariableSet, Variable, Release)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
