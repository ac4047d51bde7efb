"""Users, sessions, API keys, grants, rate limits."""

from peewee import BigIntegerField, BooleanField, CharField, FloatField, ForeignKeyField, IntegerField, Model, TextField


# Tables of earlier migrations, as far as they are pointed at.
class Project(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "project"


class Environment(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "environment"


class User(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    name = CharField(max_length=100)
    name_key = CharField(max_length=200, unique=True)
    display_name = CharField(max_length=200)
    password_hash = TextField()
    state = CharField(max_length=24)
    must_change = BooleanField()
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "user"


class Session(Model):
    id_sha256 = CharField(primary_key=True, max_length=64)
    user = ForeignKeyField(User, on_delete="CASCADE")
    created_at = BigIntegerField()
    seen_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)
    reauthenticated_at = BigIntegerField(null=True)
    address = CharField(max_length=64)
    agent = CharField(max_length=200)

    class Meta:
        table_name = "session"


class ApiKey(Model):
    id = CharField(primary_key=True, max_length=8)
    seal = TextField(null=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    name = CharField(max_length=100)
    sha256 = CharField(max_length=64)
    scopes = TextField(null=True)
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    used_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)
    version = IntegerField()

    class Meta:
        table_name = "api_key"


class Grant(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    role = CharField(max_length=40)
    project = ForeignKeyField(Project, null=True, on_delete="CASCADE")
    environment = ForeignKeyField(Environment, null=True, on_delete="CASCADE")
    created_at = BigIntegerField()
    version = IntegerField()

    class Meta:
        table_name = "grant"


class SetupCode(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    sha256 = CharField(max_length=64, unique=True)
    expires_at = BigIntegerField()
    used_at = BigIntegerField(null=True)

    class Meta:
        table_name = "setup_code"


class RateBucket(Model):
    key = CharField(primary_key=True, max_length=300)
    tokens = FloatField()
    updated_at = BigIntegerField()
    failures = IntegerField()
    blocked_until = BigIntegerField()

    class Meta:
        table_name = "rate_bucket"


class TotpSecret(Model):
    id = CharField(primary_key=True, max_length=32)
    user = ForeignKeyField(User, unique=True, on_delete="CASCADE")
    secret_sealed = TextField()
    confirmed_at = BigIntegerField(null=True)

    class Meta:
        table_name = "totp_secret"


TABLES = (User, Session, ApiKey, Grant, SetupCode, RateBucket, TotpSecret)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=True, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
