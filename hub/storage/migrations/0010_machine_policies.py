"""Machine policies, when each target is looked at next, and what targets missed while they were away."""

from peewee import BigIntegerField, BooleanField, CharField, ForeignKeyField, IntegerField, Model, TextField


# Tables of earlier migrations, as far as they are pointed at.
class Target(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "target"


class Task(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "task"


class MachinePolicy(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, unique=True)
    interval_s = IntegerField()
    script = TextField()
    shell = CharField(max_length=24)
    unavailable = CharField(max_length=24)
    wait_s = IntegerField()
    catch_up = BooleanField()
    description = TextField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "machine_policy"


class TargetCare(Model):
    target = ForeignKeyField(Target, primary_key=True, on_delete="CASCADE")
    policy = ForeignKeyField(MachinePolicy, null=True, on_delete="SET NULL")
    due_at = BigIntegerField(index=True)
    checked_at = BigIntegerField(null=True)
    task = CharField(max_length=32, null=True)
    said = CharField(max_length=24, null=True)
    said_reason = TextField()
    verdict = CharField(max_length=24, null=True)
    verdict_reason = TextField()

    class Meta:
        table_name = "target_care"


class MissedDeployment(Model):
    id = CharField(primary_key=True, max_length=32)
    target = ForeignKeyField(Target, on_delete="CASCADE")
    task = ForeignKeyField(Task, on_delete="CASCADE")

    class Meta:
        table_name = "missed_deployment"
        indexes = ((("target", "task"), True),)


TABLES = (MachinePolicy, TargetCare, MissedDeployment)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=True, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
