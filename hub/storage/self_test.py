"""At every start the engine proves that what it seals is sealed: a layer that is silently off is found at once."""

import secrets

from hub.errors import KeyringDamaged
from hub.states import VariableOwner
from hub.storage.database import write_tx
from hub.storage.models import Variable, database_proxy, new_row_id
from hub.storage.vault import Vault


class _Undo(Exception):
    pass


def prove_sealing(vault: Vault) -> None:
    """Write a canary as a secret variable, look at the raw row, read the canary back; nothing of it stays.

    Raises:
        KeyringDamaged: the row shows the plaintext, or does not give it back.
    """
    canary, row_id = f"canary-{secrets.token_hex(16)}", new_row_id()
    try:
        with write_tx():
            sealed = vault.seal_field("variable", "value_sealed", row_id, 1, canary)
            Variable.insert(
                id=row_id, owner_kind=VariableOwner.SET, owner=row_id, name="canary", value_sealed=sealed, secret=True
            ).execute()
            _look(vault, row_id, canary)
            raise _Undo
    except _Undo:
        return


def _look(vault: Vault, row_id: str, canary: str) -> None:
    table = Variable.table_name()
    mark = database_proxy.obj.param
    raw = database_proxy.obj.execute_sql(f'SELECT * FROM "{table}" WHERE id = {mark}', (row_id,)).fetchone()  # noqa: S608  Our own table's name.
    if canary in repr(raw):
        raise KeyringDamaged("self-test: a sealed value stands in the database in the clear; the hub does not start")
    stored = Variable.get_by_id(row_id).value_sealed
    if stored is None or vault.open_field("variable", "value_sealed", row_id, 1, stored).decode() != canary:
        raise KeyringDamaged("self-test: a sealed value did not come back; the hub does not start")
