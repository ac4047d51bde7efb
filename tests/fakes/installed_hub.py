"""A hub installed for a test: real keys, real trust document, real database; no process runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.installation import Installed, install
from hub.storage.database import connection
from hub.storage.hub_keys import box_keys
from hub.storage.hub_trust import load_seals, trust_chain
from hub.storage.models import DataKey
from hub.storage.seals import RowSeals
from hub.storage.vault import ProcessClass, Vault
from hub.storage.vault_master import MasterKey
from tests.fakes.tables import lay_tables
from wire.keys import BoxKey
from wire.trust import TrustChain


@dataclass(frozen=True, slots=True)
class HubHome:
    """What installation asks for."""

    home: Path
    database: str
    master_key_source: str


@dataclass(frozen=True, slots=True)
class Person:
    user_id: str = "a" * 32


@dataclass(slots=True)
class Acting:
    """An administrator acting in the engine; the clock stands where the test puts it."""

    vault: Vault
    seals: RowSeals
    now_ms: int
    caller: Person = Person()


@dataclass(frozen=True, slots=True)
class InstalledHub:
    """The hub as each class of process sees it."""

    settings: HubHome
    installed: Installed
    engine: Vault
    portal: Vault
    gateway: Vault
    seals: RowSeals

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def hub_id(self) -> str:
        return self.installed.hub_id

    @property
    def boxes(self) -> tuple[BoxKey, ...]:
        return box_keys(self.engine)

    @property
    def trust(self) -> TrustChain:
        return trust_chain()

    def acting(self, now_ms: int | None = None) -> Acting:
        return Acting(self.engine, self.seals, now_ms if now_ms is not None else time.time_ns() // 1_000_000)


@contextmanager
def installed_hub(folder: Path, database: str = "") -> Iterator[InstalledHub]:
    """Install into the folder; the calling thread is connected until the end."""
    home = folder / "home"
    settings = HubHome(home, database or str(home / "manyarm.db"), f"file:{folder / 'master-key'}")
    if not database:
        lay_tables(settings.database)
    installed = install(settings)
    master = MasterKey.read(settings.master_key_source, home)
    with connection():
        rows = list(DataKey.select())
        vaults = {cls: Vault.open(master.kek(cls), rows) for cls in ProcessClass}
        engine = vaults[ProcessClass.ENGINE]
        yield InstalledHub(
            settings,
            installed,
            engine,
            vaults[ProcessClass.PORTAL],
            vaults[ProcessClass.GATEWAY],
            load_seals(engine),
        )
