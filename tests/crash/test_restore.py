"""A restore ends itself in the middle: the hub that was there is there, and the next restore does all of it."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hub.storage.database import open_database, write_tx
from hub.storage.key_check import unlock
from hub.storage.models import Environment, Pack
from tests.crash.points import trials
from tests.hub.backup.conftest import kept
from wire.crash import VARIABLE

__all__ = ["kept"]

MANYARM = [sys.executable, "-P", "-m", "hub.cli"]


def restore(kept, at=""):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MANYARM_")}
    environ |= {
        "MANYARM_HOME": str(kept.folder / "other"),
        "MANYARM_MASTER_KEY": kept.hub.settings.master_key_source,
        "PYTHONPATH": str(Path.cwd()),
        VARIABLE: at,
    }
    words = [*MANYARM, "backup", "restore", str(kept.folder / "night.mab"), "--replace"]
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=False)


def environments(kept):
    with closing(sqlite3.connect(kept.folder / "other" / "manyarm.db")) as found:
        return [name for (name,) in found.execute("SELECT name FROM environment ORDER BY name")]


@pytest.mark.parametrize("row", trials("restore"))
def test_a_restore_that_is_killed_leaves_the_hub_that_was_there(kept, row):
    with write_tx():
        Pack.create(id="d" * 32, size=9, state="closed")
    kept.pack("d" * 32, b"MAP1 some")
    kept.create()
    kept.restore("other")
    open_database(str(kept.folder / "other" / "manyarm.db"))
    with write_tx():
        Environment.create(name="of the hub that was there")
    killed = restore(kept, row.point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert row.ends == ("as it was",)
    assert environments(kept) == ["of the hub that was there"]
    home = kept.folder / "other"
    assert unlock(kept.hub.settings.master_key_source, home, str(home / "manyarm.db")).check == kept.master.check
    again = restore(kept)
    assert again.returncode == 0, again.stderr
    assert environments(kept) == []
    assert (home / "chunks" / "packs" / ("d" * 32)).read_bytes() == b"MAP1 some"
    assert not (home / "restoring").exists()
    assert not list(home.glob(".manyarm.db*"))
