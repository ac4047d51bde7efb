"""The package feed and its chunks."""

from peewee import BigIntegerField, BlobField, CharField, ForeignKeyField, IntegerField, Model, TextField


class Package(Model):
    id = CharField(primary_key=True, max_length=32)
    name = CharField(max_length=200, unique=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "package"


class PackageVersion(Model):
    id = CharField(primary_key=True, max_length=32)
    package = ForeignKeyField(Package, on_delete="CASCADE")
    kind = CharField(max_length=24)
    version = CharField(max_length=100)
    version_sort = CharField(max_length=400)
    extension = CharField(max_length=16)
    size = BigIntegerField()
    sha256 = CharField(max_length=64)
    manifest_id = CharField(max_length=64, index=True)
    manifest_sha256 = CharField(max_length=64)
    manifest_key_sealed = BlobField()
    chunks = IntegerField()
    release_document = BlobField(null=True)
    created_at = BigIntegerField()
    pushed_by = CharField(max_length=32, null=True)

    class Meta:
        table_name = "package_version"
        indexes = ((("package", "version"), True),)


class Pack(Model):
    id = CharField(primary_key=True, max_length=32)
    size = BigIntegerField()
    state = CharField(max_length=24)
    created_at = BigIntegerField()

    class Meta:
        table_name = "pack"


class Chunk(Model):
    id = CharField(primary_key=True, max_length=64)
    pack = ForeignKeyField(Pack, on_delete="RESTRICT")
    offset = BigIntegerField()
    length = IntegerField()
    plain_length = IntegerField()

    class Meta:
        table_name = "chunk"


class PackageChunk(Model):
    id = CharField(primary_key=True, max_length=32)
    package_version = ForeignKeyField(PackageVersion, on_delete="CASCADE")
    position = IntegerField()
    chunk = ForeignKeyField(Chunk, on_delete="RESTRICT")

    class Meta:
        table_name = "package_chunk"
        indexes = ((("package_version", "position"), True),)


class StoredManifest(Model):
    id = CharField(primary_key=True, max_length=64)
    sealed = BlobField(null=True)
    path = TextField(null=True)
    size = IntegerField()
    created_at = BigIntegerField()

    class Meta:
        table_name = "stored_manifest"


TABLES = (Package, PackageVersion, Pack, Chunk, PackageChunk, StoredManifest)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
