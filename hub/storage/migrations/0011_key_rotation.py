"""A trust document that waits for an offline root, spokes' former keys, and spokes that live twice."""

from peewee import BigIntegerField, BlobField, CharField, IntegerField, Model, TextField


class TrustRequest(Model):
    id = IntegerField(primary_key=True)
    seal = TextField(null=True)
    sha256 = CharField(max_length=64)
    frame = BlobField()
    reasons = TextField()
    created_at = BigIntegerField()

    class Meta:
        table_name = "trust_request"


class FormerKey(Model):
    kid = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    spoke = CharField(max_length=32, index=True)
    public_key = CharField(max_length=64)
    until = BigIntegerField(index=True)

    class Meta:
        table_name = "former_key"


class SpokeConflict(Model):
    spoke = CharField(primary_key=True, max_length=32)
    at = BigIntegerField()
    noted_at = BigIntegerField()
    words = TextField()

    class Meta:
        table_name = "spoke_conflict"


TABLES = (TrustRequest, FormerKey, SpokeConflict)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
