"""What commands beside the database have: the engine's vault and seals, and its one way to write, for a moment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from config.settings import HubSettings
from hub.events.record import record
from hub.storage.database import connection, migrate_up, open_database, write_tx
from hub.storage.hub_trust import load_seals
from hub.storage.key_check import unlock
from hub.storage.models import DataKey, now_ms
from hub.storage.seals import RowSeals
from hub.storage.vault import ProcessClass, Vault
from hub.storage.vault_master import MasterKey

CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Console:
    """Acts in no person's name: whoever reads the master key is the console."""

    vault: Vault
    seals: RowSeals
    now_ms: int
    user_id: str = CONSOLE

    @property
    def caller(self) -> "Console":
        return self


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """The engine's keys in the hands of whoever could read the master key anyway."""

    settings: HubSettings
    master: MasterKey
    vault: Vault
    seals: RowSeals

    @contextmanager
    def writing(self) -> Iterator[int]:
        """One transaction; yields the time in UTC milliseconds."""
        with write_tx():
            yield now_ms()

    def acting(self, now: int | None = None) -> "Console":
        """Whoever sits at the console, as one who acts."""
        return Console(self.vault, self.seals, now if now is not None else now_ms())

    def record(self, action: str, what: str, detail: Mapping[str, Any]) -> None:
        """The event row of what is done in this transaction."""
        record(action, what, actor=CONSOLE, detail=dict(detail))


@contextmanager
def local_engine(settings: HubSettings) -> Iterator[LocalEngine]:
    """Opens an installed hub beside its running parts.

    Raises:
        HubError: No hub is installed, or the master key does not fit.
    """
    master = unlock(settings.master_key_source, settings.home, settings.database)
    database = open_database(settings.database)
    migrate_up(database)
    with connection():
        vault = Vault.open(master.kek(ProcessClass.ENGINE), list(DataKey.select()))
        yield LocalEngine(settings, master, vault, load_seals(vault))
