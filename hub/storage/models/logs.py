"""Task logs: blocks of some hundred lines, compressed, then sealed; line numbers are readable, texts are not."""

from peewee import CharField, IntegerField

from hub.storage.models.table import AtField, BytesField, IdField, RefField, RowId, Table
from hub.storage.models.work import Task


class LogBlock(Table):
    """Lines `first_line` to `first_line + lines - 1` of one task.

    Plaintext: zstd of JSON lines `[seq, at, stream or level, text]`; sealed with purpose content and the context
    ("log", task id, block id).
    """

    id = RowId()
    task = RefField(Task, on_delete="CASCADE")
    first_line = IntegerField()
    lines = IntegerField()
    first_at = AtField()
    last_at = AtField()
    step = CharField(max_length=200, default="")
    target = CharField(max_length=100, default="")
    job = IdField(null=True)
    bytes_plain = IntegerField(default=0)
    sealed = BytesField()

    class Meta:
        indexes = ((("task", "first_line"), True),)
