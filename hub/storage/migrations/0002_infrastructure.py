"""Environments, targets, spokes, and how they get in."""

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    FloatField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


class Environment(Model):
    id = CharField(primary_key=True, max_length=32)
    name = CharField(max_length=100, unique=True)
    description = TextField()
    position = IntegerField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "environment"


class JoinToken(Model):
    id = CharField(primary_key=True, max_length=16)
    seal = TextField(null=True)
    secret_sha256 = CharField(max_length=64)
    role = CharField(max_length=16)
    name_pattern = CharField(max_length=100)
    roles = TextField()
    environments = TextField()
    approve = CharField(max_length=24)
    created_by = CharField(max_length=32)
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    used_at = BigIntegerField(null=True)
    used_by = CharField(max_length=32, null=True)
    revoked_at = BigIntegerField(null=True)

    class Meta:
        table_name = "join_token"


class Spoke(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, index=True)
    kind = CharField(max_length=24)
    state = CharField(max_length=24)
    sign_pk = CharField(max_length=64)
    sign_kid = CharField(max_length=32, unique=True)
    next_sign_pk = CharField(max_length=64, null=True)
    box_pk = CharField(max_length=64)
    wants = TextField()
    platform = TextField()
    software = CharField(max_length=100)
    runner_release = IntegerField()
    enrol_sha256 = CharField(max_length=64, null=True)
    join_token = ForeignKeyField(JoinToken, null=True, on_delete="SET NULL")
    broker_user = CharField(max_length=64)
    broker_password_sealed = TextField(null=True)
    created_at = BigIntegerField()
    approved_at = BigIntegerField(null=True)
    approved_by = CharField(max_length=32, null=True)
    revoked_at = BigIntegerField(null=True)
    last_seen_at = BigIntegerField(null=True)
    clock_skew_s = FloatField()
    trust_version = IntegerField()
    load = TextField()
    version = IntegerField()

    class Meta:
        table_name = "spoke"


class SpokeSession(Model):
    id = CharField(primary_key=True, max_length=32)
    spoke = ForeignKeyField(Spoke, on_delete="CASCADE")
    nonce = CharField(max_length=32, unique=True)
    hub_nonce = CharField(max_length=32)
    opened_at = BigIntegerField()
    live = BooleanField()
    last_counter = IntegerField()
    seq_out = IntegerField()
    window_floor = IntegerField()
    window_seen = TextField()
    valid_until = BigIntegerField(null=True)

    class Meta:
        table_name = "spoke_session"


class Target(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100, unique=True)
    kind = CharField(max_length=24)
    spoke = ForeignKeyField(Spoke, null=True, on_delete="SET NULL")
    roles = TextField()
    disabled_at = BigIntegerField(null=True)
    disabled_reason = TextField()
    health = CharField(max_length=24)
    health_reason = TextField()
    health_since = BigIntegerField()
    endpoint = TextField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "target"


class TargetEnvironment(Model):
    id = CharField(primary_key=True, max_length=32)
    target = ForeignKeyField(Target, on_delete="CASCADE")
    environment = ForeignKeyField(Environment, on_delete="RESTRICT")

    class Meta:
        table_name = "target_environment"
        indexes = ((("target", "environment"), True),)


class Enrolment(Model):
    id = CharField(primary_key=True, max_length=64)
    spoke = ForeignKeyField(Spoke, null=True, on_delete="SET NULL")
    state = CharField(max_length=24)
    answer = BlobField(null=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "enrolment"


class GatewayInbox(Model):
    id = CharField(primary_key=True, max_length=32)
    kind = CharField(max_length=24)
    sha256 = CharField(max_length=64, index=True)
    body = BlobField(null=True)
    path = TextField(null=True)
    size = IntegerField()
    source = CharField(max_length=64)
    detail = TextField()
    received_at = BigIntegerField()
    state = CharField(max_length=24, index=True)

    class Meta:
        table_name = "gateway_inbox"


TABLES = (Environment, JoinToken, Spoke, SpokeSession, Target, TargetEnvironment, Enrolment, GatewayInbox)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
