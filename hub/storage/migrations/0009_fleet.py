"""Listening spokes: where they are dialled and by which TLS key they are known; introductions, fleets, hints."""

from peewee import BigIntegerField, BlobField, BooleanField, CharField, ForeignKeyField, Model, TextField


class Target(Model):
    id = CharField(primary_key=True, max_length=32)

    class Meta:
        table_name = "target"


class Spoke(Model):
    id = CharField(primary_key=True, max_length=32)
    broker_user = CharField(max_length=64)
    at_broker = BooleanField(default=False)

    class Meta:
        table_name = "spoke"


class Introduction(Model):
    id = CharField(primary_key=True, max_length=32)
    seal = TextField(null=True)
    address = CharField(max_length=255)
    thumbprint = CharField(max_length=71)
    fleet = CharField(max_length=32)
    target = ForeignKeyField(Target, null=True, on_delete="SET NULL", index=True)
    created_by = CharField(max_length=32)
    created_at = BigIntegerField()

    class Meta:
        table_name = "introduction"


class FleetFrame(Model):
    fleet = CharField(primary_key=True, max_length=32)
    frame = BlobField()
    sha256 = CharField(max_length=64)
    issued_at = BigIntegerField()

    class Meta:
        table_name = "fleet_frame"


class RelayHint(Model):
    spoke = CharField(primary_key=True, max_length=32)
    relay = CharField(max_length=32)
    up = CharField(max_length=8)
    reason = TextField()
    at = BigIntegerField()

    class Meta:
        table_name = "relay_hint"


TABLES = (Introduction, FleetFrame, RelayHint)
COLUMNS = {
    "address": CharField(max_length=255, default=""),
    "tls_spki": CharField(max_length=64, default=""),
    "fleet": CharField(max_length=32, default=""),
    "at_broker": BooleanField(default=False),
}


def up(migrator, db):
    migrator.migrate(*(migrator.add_column("spoke", name, field) for name, field in COLUMNS.items()))
    with db.bind_ctx((Spoke,), bind_refs=False, bind_backrefs=False):
        Spoke.update(at_broker=True).where(Spoke.broker_user != "").execute()
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.create_tables(TABLES, safe=False)


def down(migrator, db):
    with db.bind_ctx(TABLES, bind_refs=False, bind_backrefs=False):
        db.drop_tables(TABLES, safe=False)
    migrator.migrate(*(migrator.drop_column("spoke", name) for name in COLUMNS))
