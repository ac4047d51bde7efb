"""The package feed: versions, the chunks they share, and the pack files that hold chunks."""

from peewee import BigIntegerField, CharField, IntegerField, TextField

from hub.states import PackageKind, PackState
from hub.storage.models.table import (
    AtField,
    BytesField,
    HashField,
    IdField,
    RefField,
    RowId,
    StateField,
    Table,
    now_ms,
)


class Package(Table):
    id = RowId()
    name = CharField(max_length=200, unique=True)  # The package id, as its file name says it.
    created_at = AtField(default=now_ms)


class PackageVersion(Table):
    id = RowId()
    package = RefField(Package, on_delete="CASCADE")
    kind = StateField(PackageKind, default=PackageKind.PACKAGE)
    version = CharField(max_length=100)
    version_sort = CharField(max_length=400, default="")  # Hex whose order is the order of versions, in any collation.
    extension = CharField(max_length=16)
    size = BigIntegerField()
    sha256 = HashField()
    manifest_id = IdField(max_length=64, index=True)
    manifest_sha256 = HashField()
    manifest_key_sealed = BytesField()
    chunks = IntegerField(default=0)
    release_document = BytesField(null=True)  # A runner's signed manifest.
    created_at = AtField(default=now_ms)
    pushed_by = IdField(null=True)

    class Meta:
        indexes = ((("package", "version"), True),)


class Pack(Table):
    """A file of chunks under <home>/chunks, appended to while open."""

    id = RowId()
    size = BigIntegerField(default=0)
    state = StateField(PackState, default=PackState.OPEN)
    created_at = AtField(default=now_ms)


class Chunk(Table):
    """No hash of the plaintext stands here: the keyed id is there so that the store does not betray its content."""

    id = HashField(primary_key=True)
    pack = RefField(Pack, on_delete="RESTRICT")
    offset = BigIntegerField()
    length = IntegerField()  # As stored.
    plain_length = IntegerField()


class PackageChunk(Table):
    package_version = RefField(PackageVersion, on_delete="CASCADE")
    position = IntegerField()
    chunk = RefField(Chunk, on_delete="RESTRICT")
    id = RowId()

    class Meta:
        indexes = ((("package_version", "position"), True),)


class StoredManifest(Table):
    """A manifest as it travels: sealed under its own key."""

    id = IdField(max_length=64, primary_key=True)
    sealed = BytesField(null=True)
    path = TextField(null=True)
    size = IntegerField(default=0)
    created_at = AtField(default=now_ms)
