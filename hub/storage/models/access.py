"""Who may come in and what they may do: users, sessions, API keys, grants, and what slows down guessing."""

from peewee import BooleanField, CharField, FloatField, IntegerField, TextField

from hub.states import UserState
from hub.storage.models.infrastructure import Environment
from hub.storage.models.projects import Project
from hub.storage.models.table import (
    AtField,
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


class User(SealedTable):
    SEALED = ("name", "name_key", "password_hash", "state", "must_change")

    id = RowId()
    name = CharField(max_length=100)
    name_key = CharField(max_length=200, unique=True)  # Normalised: the one key of lookup, limiter and audit.
    display_name = CharField(max_length=200, default="")
    password_hash = TextField(default="")  # Empty: no password opens it.
    state = StateField(UserState, default=UserState.ACTIVE)
    must_change = BooleanField(default=False)
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class Session(Table):
    """A signed-in browser. The row carries no rights: those are read from the user at each request."""

    id_sha256 = HashField(primary_key=True)
    user = RefField(User, on_delete="CASCADE")
    created_at = AtField(default=now_ms)
    seen_at = AtField(default=now_ms)
    expires_at = AtField(index=True)
    reauthenticated_at = AtField(null=True)
    address = CharField(max_length=64, default="")
    agent = CharField(max_length=200, default="")


class ApiKey(SealedTable):
    SEALED = ("user", "name", "sha256", "scopes", "created_at", "expires_at", "revoked_at")

    id = IdField(max_length=8, primary_key=True)
    user = RefField(User, on_delete="CASCADE")
    name = CharField(max_length=100)
    sha256 = HashField()
    scopes = JsonField(null=True)  # Permission names; None: all that the owner may.
    created_at = AtField(default=now_ms)
    expires_at = AtField()
    used_at = AtField(null=True)
    revoked_at = AtField(null=True)
    version = IntegerField(default=1)


class Grant(SealedTable):
    """A role for a user; without project or environment it holds for all of them."""

    SEALED = ("user", "role", "project", "environment")

    id = RowId()
    user = RefField(User, on_delete="CASCADE")
    role = CharField(max_length=40)
    project = RefField(Project, null=True, on_delete="CASCADE")
    environment = RefField(Environment, null=True, on_delete="CASCADE")
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class SetupCode(SealedTable):
    """Lets one person at the console become the first administrator, once."""

    SEALED = ("sha256", "expires_at")

    id = RowId()
    sha256 = HashField(unique=True)
    expires_at = AtField()
    used_at = AtField(null=True)


class RateBucket(Table):
    key = CharField(max_length=300, primary_key=True)
    tokens = FloatField()
    updated_at = AtField()
    failures = IntegerField(default=0)
    blocked_until = AtField(default=0)


class TotpSecret(Table):
    """A place for the second factor."""

    id = RowId()
    user = RefField(User, unique=True, on_delete="CASCADE")
    secret_sealed = TextField()
    confirmed_at = AtField(null=True)
