"""Databases and whole installed hubs for the hub's tests; argon2 is cheap here and nowhere else."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from peewee import Database

from hub.installation import Installed, install
from hub.storage.database import connection, open_database
from hub.storage.hub_trust import load_seals
from hub.storage.models import DataKey
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from hub.storage.vault_master import MasterKey, PassphraseCost
from tests.fakes.tables import lay_tables

CHEAP = PassphraseCost(ops=1, memory_bytes=8192)


@dataclass(frozen=True, slots=True)
class HomeSettings:
    """What an installation needs of the settings, in a folder of the test's own."""

    home: Path
    database: str
    master_key_source: str


@dataclass(frozen=True, slots=True)
class InstalledHub:
    """A hub with its keys open, and this thread connected to its database."""

    settings: HomeSettings
    installed: Installed
    master: MasterKey
    vault: Vault
    seals: RowSeals
    database: Database

    @property
    def home(self) -> Path:
        return self.settings.home

    def vault_of(self, process_class: str) -> Vault:
        return Vault.open(self.master.kek(process_class), DataKey.select())


def settings_in(folder: Path, database: str | None = None) -> HomeSettings:
    home = folder / "home"
    return HomeSettings(home, database or f"sqlite:///{home / 'manyarm.db'}", f"file:{folder / 'home.master-key'}")


_EACH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=_EACH)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind without a table."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return f"sqlite:///{tmp_path / 'manyarm.db'}"


@pytest.fixture(params=_EACH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind with all tables and no rows."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_tables_url")
        return url
    lay_tables(made := f"sqlite:///{tmp_path / 'manyarm.db'}")
    return made


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """All tables, empty, and this thread connected."""
    opened = open_database(database_url)
    with connection():
        yield opened
    _close(opened)


@pytest.fixture
def installed_hub(tmp_path: Path) -> Iterator[InstalledHub]:
    """A fresh hub on SQLite."""
    settings = settings_in(tmp_path)
    lay_tables(settings.database)
    yield from _installed(settings)


@pytest.fixture
def installed_hub_on_each(tmp_path: Path, database_url: str) -> Iterator[InstalledHub]:
    """A fresh hub on each kind of database."""
    yield from _installed(settings_in(tmp_path, database_url))


def _installed(settings: HomeSettings) -> Iterator[InstalledHub]:
    installed = install(settings, cost=CHEAP)
    database = open_database(settings.database)
    with connection():
        master = MasterKey.read(settings.master_key_source, settings.home)
        vault = Vault.open(master.kek("engine"), DataKey.select())
        yield InstalledHub(settings, installed, master, vault, load_seals(vault), database)
    _close(database)


def _close(database: Database) -> None:
    # Pooled connections would keep PostgreSQL from dropping the test's database.
    if hasattr(database, "close_all"):
        database.close_all()
