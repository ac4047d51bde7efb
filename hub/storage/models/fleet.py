"""Listening spokes and the relays that dial them: who was introduced, what relays are told, what relays say."""

from peewee import CharField, TextField

from hub.storage.models.infrastructure import Target
from hub.storage.models.table import (
    AtField,
    BytesField,
    HashField,
    IdField,
    RefField,
    RowId,
    SealedTable,
    Table,
    now_ms,
)


class Introduction(SealedTable):
    """A person has typed a listening spoke's thumbprint and address: whoever shows that key there is let in, once.

    The id is the one that the spoke will have.
    """

    SEALED = ("address", "thumbprint", "fleet", "target", "created_by", "created_at")

    id = RowId()
    address = CharField(max_length=255)
    thumbprint = CharField(max_length=71)
    fleet = CharField(max_length=32)
    target = RefField(Target, null=True, on_delete="SET NULL")  # None: it was removed, and nobody is expected any more.
    created_by = IdField()
    created_at = AtField(default=now_ms)


class FleetFrame(Table):
    """The signed document of one fleet, as the gateway hands it to relays."""

    fleet = CharField(max_length=32, primary_key=True)
    frame = BytesField()
    sha256 = HashField()  # Of the frame.
    issued_at = AtField()


class RelayHint(Table):
    """What a relay last said of a spoke; it explains and decides nothing."""

    spoke = IdField(primary_key=True)
    relay = IdField()
    up = CharField(max_length=8)  # up | down
    reason = TextField(default="")
    at = AtField(default=now_ms)
