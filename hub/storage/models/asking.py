"""Intents: what the portal asked the engine to do, and the engine's answer."""

from peewee import CharField, IntegerField

from hub.states import IntentState
from hub.storage.models.table import AtField, BytesField, HashField, RowId, StateField, Table, now_ms


class IntentRow(Table):
    id = RowId()
    operation = CharField(max_length=80)
    body_sealed = BytesField()  # The frame, as signed by hub-portal and sealed to hub-box.
    actor = CharField(max_length=100)
    idempotency_key = CharField(max_length=100, null=True)
    request_sha256 = HashField(null=True)
    created_at = AtField(default=now_ms)
    state = StateField(IntentState, default=IntentState.NEW, index=True)
    status = IntegerField(null=True)
    answer_sealed = BytesField(null=True)
    answered_at = AtField(null=True)

    class Meta:
        table_name = "intent"
        indexes = ((("actor", "operation", "idempotency_key"), True),)
