"""The hub's keys: data keys wrapped for each process class, signing and box keys, the trust chain, and who we are."""

from peewee import IntegerField, TextField

from hub.states import DataKeyState, HubKeyState
from hub.storage.models.table import (
    AtField,
    BytesField,
    HashField,
    IdField,
    RowId,
    SealedTable,
    StateField,
    Table,
    now_ms,
)


class Installation(Table):
    """One row, id 1: which hub this database belongs to, and under which master key.

    `epoch`: grows with each restore; the trust document says it to spokes as soon as the root has signed it.
    """

    id = IntegerField(primary_key=True)
    hub_id = IdField()
    root_thumbprint = HashField()  # SHA-256 of the root public key.
    epoch = IntegerField(default=1)
    restored_at = AtField(null=True)
    forgot_since = AtField(null=True)  # When the backup was made that it was restored from.
    created_at = AtField(default=now_ms)
    mk_check = HashField()
    root_sealed = BytesField()  # The thumbprint again, sealed: who writes SQL cannot put his own root in its place.


class DataKey(Table):
    """One data key, wrapped once for each class of process that needs it."""

    id = RowId()
    dek_id = IdField(index=True)
    purpose = TextField()
    cls = TextField()
    state = StateField(DataKeyState, default=DataKeyState.ACTIVE)
    created_at = AtField(default=now_ms)
    wrapped = BytesField()
    mk_check = HashField()

    class Meta:
        indexes = ((("dek_id", "cls"), True),)


class HubKey(SealedTable):
    """A key of the hub's own; the private half is sealed as a block under the purpose of its role, or exported."""

    SEALED = ("role", "public_key", "state", "not_before", "not_after")

    kid = IdField(primary_key=True)
    role = TextField(index=True)
    public_key = HashField()
    private_sealed = BytesField(null=True)
    state = StateField(HubKeyState, default=HubKeyState.ACTIVE)
    not_before = AtField()
    not_after = AtField()
    created_at = AtField(default=now_ms)
    document = BytesField(null=True)  # The box key's certificate by hub-command (MAD1 box), for the gateway to serve.


class TrustFrame(SealedTable):
    """Every trust document ever signed, so that a spoke that slept a year can walk the chain."""

    SEALED = ("sha256", "issued_at")

    version = IntegerField(primary_key=True)
    sha256 = HashField()
    frame = BytesField()
    issued_at = AtField()
