"""A hub with something of everything in it, kept and put back."""

import io
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.backup.creating import Source, create
from hub.backup.fitting import Destination
from hub.backup.restoring import restore
from hub.storage.files import FileStore
from hub.storage.vault_master import MasterKey, PassphraseCost
from tests.fakes.installed_hub import installed_hub

CHEAP = PassphraseCost(ops=1, memory_bytes=8192 * 1024)
PHRASE = "a passphrase that nobody guesses"


def now_ms():
    return time.time_ns() // 1_000_000


@dataclass
class Kept:
    """The hub, and how it is kept and put back."""

    hub: object
    folder: Path

    @property
    def master(self):
        return MasterKey.read(self.hub.settings.master_key_source, self.hub.home)

    def create(self, name="night.mab", **options):
        settings = self.hub.settings
        source = Source(settings.home, settings.database, self.master, "0.1.0", now_ms)
        return create(source, self.folder / name, cost=CHEAP, **options)

    def restore(self, to, name="night.mab", *, key=None, database="", **options):
        """Into another home."""
        home = self.folder / to
        source = key or self.hub.settings.master_key_source
        destination = Destination(home, database or str(home / "manyarm.db"), source, now_ms)
        options.setdefault("passphrase", lambda: PHRASE)
        return restore(destination, self.folder / name, **options)

    def artifact(self, artifact_id, content):
        FileStore(self.hub.engine, self.hub.home / "artifacts").write("artifact", artifact_id, io.BytesIO(content))

    def pack(self, pack_id, content):
        path = self.hub.home / "chunks" / "packs" / pack_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def kept(tmp_path):
    with installed_hub(tmp_path) as hub:
        yield Kept(hub, tmp_path)
