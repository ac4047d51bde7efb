"""What the gateway took in without being able to open it; the engine empties it."""

from peewee import CharField, IntegerField, TextField

from hub.states import InboxKind, InboxState
from hub.storage.models.table import AtField, BytesField, HashField, JsonField, RowId, StateField, Table, now_ms


class GatewayInbox(Table):
    id = RowId()
    kind = StateField(InboxKind)
    sha256 = HashField(index=True)
    body = BytesField(null=True)
    path = TextField(null=True)  # A name of ours inside the home, for what is too big for a row.
    size = IntegerField(default=0)
    source = CharField(max_length=64, default="")
    detail = JsonField(default=dict)  # What the capability said: spoke, number.
    received_at = AtField(default=now_ms)
    state = StateField(InboxState, default=InboxState.NEW, index=True)
