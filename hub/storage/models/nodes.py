"""The nodes of a hub: the engines that work on this database, and which of them does what one alone should do."""

from peewee import CharField, TextField

from hub.storage.models.table import AtField, RowId, Table


class Node(Table):
    """An engine; it says again and again that it is there. Grants nothing: it is for people and for tidying up.

    `mark`: machine and process, by which another engine on the same machine knows at once that it has died.
    """

    id = RowId()
    name = CharField(max_length=200)
    mark = TextField()
    software = CharField(max_length=100, default="")
    started_at = AtField()
    until = AtField(index=True)


class Lease(Table):
    """Who does something alone, and until when: hub/orchestrator/leases.py."""

    name = CharField(max_length=100, primary_key=True)
    holder = CharField(max_length=100)
    until = AtField()
