"""T182, F30: the master key is replaced and the process killed at every step: all old or all new, and nothing is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.errors import MasterKeyWrong
from hub.events.audit import verify_database
from hub.storage.database import connection, open_database, write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import audit_keys, installation
from hub.storage.key_check import compare, stored_check, unlock
from hub.storage.models import DataKey, Variable
from hub.storage.vault import ProcessClass, Vault
from hub.storage.vault_master import MasterKey
from hub.storage.vault_rotation import rotate_master
from tests.crash.points import trials
from wire.crash import VARIABLE
from wire.roles import Role

MANYARM = [sys.executable, "-P", "-m", "hub.cli"]


def run(hub, *words, at=""):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MANYARM_")}
    settings = hub.settings
    environ |= {
        "MANYARM_HOME": str(settings.home),
        "MANYARM_MASTER_KEY": settings.master_key_source,
        "PYTHONPATH": str(Path.cwd()),
        VARIABLE: at,
    }
    return subprocess.run([*MANYARM, *words], env=environ, capture_output=True, text=True, check=False)


def a_secret(hub):
    """A value sealed before, to be read after."""
    with write_tx():
        row = Variable(owner_kind="set", owner="a" * 32, name="Token", secret=True, value_version=1)
        row.value_sealed = hub.vault.seal_field("variable", "value_sealed", row.id, 1, "s3cret")
        hub.seals.seal(row)
        row.save(force_insert=True)
    return row.id


def readable(hub, master, variable):
    """Every class opens its keys, and what was sealed before opens."""
    open_database(hub.settings.database)
    with connection():
        vaults = {cls: Vault.open(master.kek(cls), list(DataKey.select())) for cls in ProcessClass}
        engine, row = vaults[ProcessClass.ENGINE], Variable.get_by_id(variable)
        assert signing_key(engine, Role.HUB_COMMAND)
        return engine.open_field("variable", "value_sealed", row.id, 1, row.value_sealed) == b"s3cret"


@pytest.mark.parametrize("row", trials("keys"))
def test_t182_a_killed_rotation_leaves_all_old_or_all_new(installed_hub, row):
    hub, variable = installed_hub, a_secret(installed_hub)
    source, home = hub.settings.master_key_source, hub.settings.home
    old = MasterKey.read(source, home)
    killed = run(hub, "key", "rotate-master", at=row.point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    fits = unlock(source, home, hub.settings.database, finish=False)
    assert ("old" if fits.check == old.check else "new",) == row.ends
    left = Path(f"{source.removeprefix('file:')}.next")
    explained = run(hub, "doctor").stdout
    # Doctor looks with a fit key; what it cannot explain is nothing.
    assert ("interrupted" in explained) is (row.name != "master.placed")
    master = unlock(source, home, hub.settings.database)
    assert readable(hub, master, variable)
    # It can be done again, to the end.
    again = run(hub, "key", "rotate-master")
    assert again.returncode == 0, again.stderr
    assert not left.exists()
    newest = unlock(source, home, hub.settings.database)
    assert newest.check not in {old.check, master.check}
    assert newest.recovery_string() in again.stdout
    assert readable(hub, newest, variable)
    with pytest.raises(MasterKeyWrong, match=newest.id):
        compare(old.check, stored_check(hub.settings.database))
    with connection():
        assert verify_database(installation().hub_id, audit_keys()).ok


def test_t182_what_runs_goes_on_with_the_data_keys_that_it_has_opened(installed_hub):
    hub, variable = installed_hub, a_secret(installed_hub)
    source, home = hub.settings.master_key_source, hub.settings.home
    rotate_master(source, home, MasterKey.read(source, home), lambda _: None)
    row = Variable.get_by_id(variable)
    assert hub.vault.open_field("variable", "value_sealed", row.id, 1, row.value_sealed) == b"s3cret"


def test_f30_a_lost_key_is_told_with_what_is_needed(installed_hub):
    hub = installed_hub
    path = Path(hub.settings.master_key_source.removeprefix("file:"))
    path.rename(path.with_name("elsewhere"))
    told = run(hub, "doctor")
    assert told.returncode == 1
    assert stored_check(hub.settings.database).check[:8] in told.stdout
    assert "recovery string" in told.stdout
