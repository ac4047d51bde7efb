"""Where things run: environments, targets, the spokes that serve them, and how a spoke gets in."""

from peewee import BooleanField, CharField, FloatField, IntegerField, TextField

from hub.states import AccountKind, Approval, EnrolmentState, Health, SpokeKind, SpokeState, TargetKind
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


class Environment(Table):
    id = RowId()
    name = CharField(max_length=100, unique=True)
    description = TextField(default="")
    position = IntegerField(default=0)
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class JoinToken(SealedTable):
    SEALED = (
        "secret_sha256", "role", "name_pattern", "roles", "environments", "approve",
        "created_by", "created_at", "expires_at", "used_at", "used_by", "revoked_at",
    )  # fmt: skip

    id = IdField(max_length=16, primary_key=True)
    secret_sha256 = HashField()
    role = CharField(max_length=16, default="spoke")  # spoke | relay | ssh | local
    name_pattern = CharField(max_length=100, default="")
    roles = JsonField(default=list)
    environments = JsonField(default=list)
    approve = StateField(Approval, default=Approval.MANUAL)
    created_by = IdField()
    created_at = AtField(default=now_ms)
    expires_at = AtField()
    used_at = AtField(null=True)
    used_by = IdField(null=True)  # The spoke it became.
    revoked_at = AtField(null=True)


class Spoke(SealedTable):
    SEALED = (
        "name", "kind", "state", "sign_pk", "sign_kid", "box_pk", "next_sign_pk", "wants",
        "broker_user", "approved_at", "approved_by", "revoked_at", "address", "tls_spki", "fleet",
    )  # fmt: skip

    id = RowId()
    name = CharField(max_length=100, index=True)
    kind = StateField(SpokeKind, default=SpokeKind.POLLING)
    state = StateField(SpokeState, default=SpokeState.PENDING)
    sign_pk = HashField()
    sign_kid = IdField(unique=True)
    next_sign_pk = HashField(null=True)  # Announced by `rotate`; takes over at its first frame.
    box_pk = HashField()
    wants = JsonField(default=dict)  # Roles and environment ids that its target gets with the approval.
    platform = JsonField(default=dict)
    software = CharField(max_length=100, default="")
    runner_release = IntegerField(default=0)
    enrol_sha256 = HashField(null=True)
    join_token = RefField(JoinToken, null=True, on_delete="SET NULL")
    address = CharField(max_length=255, default="")  # Where a listening spoke is dialled.
    tls_spki = CharField(max_length=64, default="")  # The pin of a listening spoke's or a relay's TLS key.
    fleet = CharField(max_length=32, default="")  # Of listening spokes, and of the relays that dial them.
    at_broker = BooleanField(default=False)  # An account or a mailbox is there, or about to be.
    broker_user = CharField(max_length=64, default="")
    broker_password_sealed = TextField(null=True)
    created_at = AtField(default=now_ms)
    approved_at = AtField(null=True)
    approved_by = IdField(null=True)
    revoked_at = AtField(null=True)
    last_seen_at = AtField(null=True)
    clock_skew_s = FloatField(default=0.0)
    trust_version = IntegerField(default=0)
    load = JsonField(default=dict)
    version = IntegerField(default=1)


class SpokeSession(Table):
    """One life of a spoke daemon, by the nonce that it made; numbers both ways live here."""

    id = RowId()
    spoke = RefField(Spoke, on_delete="CASCADE")
    nonce = IdField(unique=True)
    hub_nonce = IdField()
    opened_at = AtField(default=now_ms)
    live = BooleanField(default=False)
    last_counter = IntegerField(default=0)
    seq_out = IntegerField(default=0)
    window_floor = IntegerField(default=0)
    window_seen = TextField(default="0")  # A bit set of 1,024 as a decimal number.
    valid_until = AtField(null=True)  # None: the present one.


class Account(SealedTable):
    """What is needed to get in somewhere: a login of machines, or a cloud's credentials."""

    SEALED = ("name", "kind", "fields", "secrets_sealed", "environments")

    id = RowId()
    name = CharField(max_length=100, unique=True)
    kind = StateField(AccountKind)
    fields = JsonField(default=dict)  # Not secret: texts by name.
    secrets_sealed = JsonField(default=dict)  # By name: {"version", "sealed"}; the version is bound in the ciphertext.
    environments = JsonField(default=list)  # Ids of those in which it may be used; none: in all.
    description = TextField(default="")
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class Target(SealedTable):
    SEALED = ("name", "kind", "spoke", "roles", "endpoint", "disabled_at")

    id = RowId()
    name = CharField(max_length=100, unique=True)
    kind = StateField(TargetKind, default=TargetKind.POLLING)
    spoke = RefField(Spoke, null=True, on_delete="SET NULL")
    roles = JsonField(default=list)
    disabled_at = AtField(null=True)
    disabled_reason = TextField(default="")
    health = StateField(Health, default=Health.UNKNOWN)
    health_reason = TextField(default="")
    health_since = AtField(default=now_ms)
    endpoint = JsonField(default=dict)
    created_at = AtField(default=now_ms)
    version = IntegerField(default=1)


class TargetEnvironment(Table):
    id = RowId()
    target = RefField(Target, on_delete="CASCADE")
    environment = RefField(Environment, on_delete="RESTRICT")

    class Meta:
        indexes = ((("target", "environment"), True),)


class Enrolment(Table):
    """What the gateway answers to whoever asks for this enrol frame."""

    id = HashField(primary_key=True)  # SHA-256 of the frame.
    spoke = RefField(Spoke, null=True, on_delete="SET NULL")
    state = StateField(EnrolmentState, default=EnrolmentState.WAITING)
    answer = BytesField(null=True)
    created_at = AtField(default=now_ms)
