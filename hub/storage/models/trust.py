"""What trust needs beside keys and documents: what waits for an offline root, former keys, spokes that live twice."""

from peewee import IntegerField, TextField

from hub.storage.models.table import AtField, BytesField, HashField, IdField, JsonField, SealedTable, Table, now_ms


class TrustRequest(SealedTable):
    """One row at most, id 1: the next trust document, which the hub cannot sign since its root is offline."""

    SEALED = ("sha256", "reasons", "created_at")

    id = IntegerField(primary_key=True)
    sha256 = HashField()  # Of the frame.
    frame = BytesField()  # With the signatures of those roots that the hub holds.
    reasons = JsonField(default=list)
    created_at = AtField(default=now_ms)


class FormerKey(SealedTable):
    """A spoke's signing key after the next one took over: until then it may finish reporting, and begin nothing."""

    SEALED = ("spoke", "public_key", "until")

    kid = IdField(primary_key=True)
    spoke = IdField(index=True)
    public_key = HashField()
    until = AtField(index=True)


class SpokeConflict(Table):
    """A spoke that lives twice: somebody has a copy of its keys."""

    spoke = IdField(primary_key=True)
    at = AtField()  # Last seen.
    noted_at = AtField()  # Last said in the audit log.
    words = TextField()
