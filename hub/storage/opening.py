"""Opens a hub's database and keyring, and nothing else of it: for `manyarm up` too, which runs no part itself."""

from config.settings import HubSettings
from hub.storage.database import connection, open_database
from hub.storage.models import DataKey
from hub.storage.vault import Kek, Vault


def open_vault(settings: HubSettings, kek: Kek) -> Vault:
    """The database bound, and the vault of this class of process opened from its keyring."""
    open_database(settings.database)
    with connection():
        return Vault.open(kek, list(DataKey.select()))
