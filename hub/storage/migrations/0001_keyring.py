"""The hub's keys and who we are."""

from peewee import BigIntegerField, BlobField, CharField, IntegerField, Model, TextField


class Installation(Model):
    id = IntegerField(primary_key=True)
    hub_id = CharField(max_length=32)
    root_thumbprint = CharField(max_length=64)
    epoch = IntegerField()
    created_at = BigIntegerField()
    mk_check = CharField(max_length=64)
    root_sealed = BlobField()

    class Meta:
        table_name = "installation"


class DataKey(Model):
    id = CharField(primary_key=True, max_length=32)
    dek_id = CharField(max_length=32, index=True)
    purpose = TextField()
    cls = TextField()
    state = CharField(max_length=24)
    created_at = BigIntegerField()
    wrapped = BlobField()
    mk_check = CharField(max_length=64)

    class Meta:
        table_name = "data_key"
        indexes = ((("dek_id", "cls"), True),)


class HubKey(Model):
    kid = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    role = TextField(index=True)
    public_key = CharField(max_length=64)
    private_sealed = BlobField(null=True)
    state = CharField(max_length=24)
    not_before = BigIntegerField()
    not_after = BigIntegerField()
    created_at = BigIntegerField()
    document = BlobField(null=True)

    class Meta:
        table_name = "hub_key"


class TrustFrame(Model):
    version = IntegerField(primary_key=True)
    seal = TextField(null=True)
    sha256 = CharField(max_length=64)
    frame = BlobField()
    issued_at = BigIntegerField()

    class Meta:
        table_name = "trust_frame"


TABLES = (Installation, DataKey, HubKey, TrustFrame)


def up(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
