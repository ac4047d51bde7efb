"""A backup holds everything, opens with its key alone, and is put back whole or not at all."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import psycopg
import pytest

from hub.backup import container
from hub.backup.creating import Source, create
from hub.backup.errors import BackupDamaged, BackupUnfit
from hub.backup.restoring import verify
from hub.errors import AlreadyRunning, Conflict, HubError, Invalid, MasterKeyMissing
from hub.events.audit import verify_database
from hub.storage.database import connection, engine_lock, open_database, write_tx
from hub.storage.hub_trust import audit_keys, installation, trust_chain
from hub.storage.models import Artifact, Environment, Job, Outbox, Pack, Task, Variable
from hub.storage.opening import open_vault
from hub.storage.vault import ProcessClass
from tests.hub.backup.conftest import PHRASE, now_ms

# What a restore changes, and says that it does.
CHANGED = {"installation", "trust_frame", "event", "chain_head", "checkpoint", "schema_migration"}


def rows(database):
    with closing(sqlite3.connect(database)) as found:
        names = [name for (name,) in found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, found.execute(f'SELECT * FROM "{name}"'))) for name in names}


def fill(kept):
    """A row with a secret, one with bytes, one that names a file, and the files."""
    with write_tx():
        Environment.create(name="Prod ☂", description="two\nlines")
        row = Variable(owner_kind="set", owner="a" * 32, name="Token", secret=True, value_version=1)
        row.value_sealed = kept.hub.engine.seal_field("variable", "value_sealed", row.id, 1, "s3cret")
        kept.hub.seals.seal(row)
        row.save(force_insert=True)
        task = Task.create(kind="deployment", title="one", state="succeeded")
        job = Job.create(task=task.id, step_index=0, step="Install", state="succeeded")
        Artifact.create(id="c" * 32, task=task.id, job=job.id, name="report", size=9, sha256="0" * 64, state="stored")
        Pack.create(id="d" * 32, size=1_500_000, state="closed")
    kept.artifact("c" * 32, b"an answer")
    kept.pack("d" * 32, b"MAP1" + os.urandom(1_500_000))
    return row.id


def test_what_is_put_back_is_what_was_kept(kept):
    variable = fill(kept)
    before = rows(kept.hub.settings.database)
    made = kept.create()
    done = kept.restore("other")
    after = rows(kept.folder / "other" / "manyarm.db")
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= CHANGED
    for path in (f"chunks/packs/{'d' * 32}", f"artifacts/artifact/cc/{'c' * 32}.maf"):
        assert (kept.folder / "other" / path).read_bytes() == (kept.hub.home / path).read_bytes()
    assert done.files == 2
    assert made.missing == ()
    open_database(str(kept.folder / "other" / "manyarm.db"))
    vault = open_vault_of(kept, "other")
    with connection():
        row = Variable.get_by_id(variable)
        assert vault.open_field("variable", "value_sealed", row.id, 1, row.value_sealed) == b"s3cret"
        assert verify_database(installation().hub_id, audit_keys()).ok


@pytest.mark.postgres
def test_a_backup_of_one_kind_of_database_fits_the_other(kept, postgres_url):
    fill(kept)
    with write_tx():
        Outbox.create(kind="command", state="dead", body=b"\0bytes")
    before = rows(kept.hub.settings.database)
    kept.create()
    kept.restore("on-postgres", database=postgres_url)
    with write_tx():
        # Numbers that the database gives go on behind those that were put in.
        assert Outbox.create(kind="order", state="dead").id == 2
        Outbox.delete().where(Outbox.kind == "order").execute()
    source = Source(kept.folder / "on-postgres", postgres_url, kept.master, "0.1.0", now_ms)
    assert create(source, kept.folder / "second.mab").head.database == "postgresql"
    kept.restore("third", "second.mab")
    after = rows(kept.folder / "third" / "manyarm.db")
    assert {name for name in before if before[name] != after[name]} <= CHANGED
    with pytest.raises(AlreadyRunning, match="connected"), psycopg.connect(postgres_url):
        kept.restore("on-postgres", "second.mab", database=postgres_url, replace=True)


def open_vault_of(kept, home):
    class Settings:
        database = str(kept.folder / home / "manyarm.db")

    return open_vault(Settings, kept.master.kek(ProcessClass.ENGINE))


def test_it_is_one_moment_of_a_hub_that_goes_on_writing(kept):
    stop = threading.Event()

    def write():
        with connection():
            while not stop.is_set():
                with write_tx():
                    task = Task.create(kind="deployment", title="t", state="succeeded")
                    Job.create(task=task.id, step_index=0, step="s", state="succeeded")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            kept.create(f"{number}.mab")
    finally:
        stop.set()
        writer.join()
    kept.restore("other", "2.mab")
    found = rows(kept.folder / "other" / "manyarm.db")
    assert len(found["task"]) == len(found["job"]) > 0


def test_the_master_key_is_not_in_it_and_nothing_is_in_the_clear(kept):
    with write_tx():
        Environment.create(name="a-name-that-nobody-reads")
    kept.create()
    content = (kept.folder / "night.mab").read_bytes()
    assert kept.master.key not in content
    assert kept.master.key.hex().encode() not in content
    assert b"a-name-that-nobody-reads" not in content
    assert (kept.folder / "night.mab").stat().st_mode & 0o077 == 0


def test_with_a_passphrase_the_key_comes_along(kept):
    kept.create(passphrase=PHRASE)
    new_key = kept.folder / "new" / "master-key"
    with pytest.raises(Invalid, match="passphrase"):
        kept.restore("other", key=f"file:{new_key}", passphrase=lambda: "another one that is long")
    assert not (kept.folder / "other").exists()
    kept.restore("other", key=f"file:{new_key}")
    assert new_key.read_text().strip() == kept.master.key.hex()
    assert new_key.stat().st_mode & 0o077 == 0


def test_a_short_passphrase_keeps_no_key(kept):
    with pytest.raises(Invalid, match="15"):
        kept.create(passphrase="short")
    assert not (kept.folder / "night.mab").exists()


def test_without_its_key_it_says_which_one_it_needs(kept):
    kept.create()
    with pytest.raises(MasterKeyMissing, match=kept.master.id):
        kept.restore("other", key=f"file:{kept.folder / 'nowhere'}")
    assert not (kept.folder / "other").exists()


def test_each_byte_counts_and_the_damaged_part_is_named(kept):
    kept.artifact("c" * 32, b"x" * 300_000)
    fill(kept)
    kept.create()
    whole = (kept.folder / "night.mab").read_bytes()
    named = set()
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        (kept.folder / "bad.mab").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        named.add(refusal(kept, "bad.mab"))
    for end in (10, 500, len(whole) // 2, len(whole) - 1):
        (kept.folder / "bad.mab").write_bytes(whole[:end])
        named.add(refusal(kept, "bad.mab"))
    (kept.folder / "bad.mab").write_bytes(whole + b"\0")
    named.add(refusal(kept, "bad.mab"))
    assert any(f"pack/{'d' * 32}" in words for words in named), named
    assert not (kept.folder / "other").exists()


def refusal(kept, name):
    with pytest.raises(HubError) as refused:
        kept.restore("other", name)
    assert type(refused.value).__name__ in {"BackupDamaged", "MasterKeyWrong"}, refused.value
    return refused.value.detail


def test_a_name_that_is_not_ours_is_no_file(kept):
    made = kept.create()
    entries = [container.Entry("artifact/../../../etc/passwd", iter([b"root"]))]
    with (kept.folder / "bad.mab").open("wb") as out:
        container.write(out, made.head, kept.master.key, entries)
    with pytest.raises(BackupDamaged, match="no name"):
        verify(kept.folder / "bad.mab", kept.master)


def test_it_goes_over_no_hub_unless_told(kept):
    kept.create()
    kept.restore("other")
    before = (kept.folder / "other" / "manyarm.db").read_bytes()
    with pytest.raises(BackupUnfit, match="--replace"):
        kept.restore("other")
    assert (kept.folder / "other" / "manyarm.db").read_bytes() == before
    done = kept.restore("other", replace=True)
    with closing(sqlite3.connect(done.set_aside)) as old:
        assert old.execute("SELECT count(*) FROM installation").fetchone() == (1,)


def test_it_goes_over_no_hub_that_lives(kept):
    kept.create()
    database = str(kept.folder / "other" / "manyarm.db")
    with engine_lock(kept.folder / "other", database), pytest.raises(AlreadyRunning):
        kept.restore("other", replace=True)


def test_a_backup_of_a_newer_release_is_left_alone(kept):
    made = kept.create()
    newer = container.Head(**{**head_fields(made.head), "migrations": (*made.head.migrations, "9999_rockets")})
    with (kept.folder / "newer.mab").open("wb") as out:
        container.write(out, newer, kept.master.key, [])
    with pytest.raises(BackupUnfit, match="9999_rockets"):
        kept.restore("other", "newer.mab")


def head_fields(head):
    return {name: getattr(head, name) for name in head.__slots__}


def test_an_older_backup_gets_the_tables_of_today(kept):
    made = kept.create()
    assert made.head.migrations
    kept.restore("other")
    with closing(sqlite3.connect(kept.folder / "other" / "manyarm.db")) as found:
        applied = [name for (name,) in found.execute("SELECT name FROM schema_migration ORDER BY name")]
    assert applied == list(made.head.migrations)


def test_a_file_that_is_there_is_not_written_over(kept):
    (kept.folder / "night.mab").write_text("precious")
    with pytest.raises(Conflict):
        kept.create()
    assert (kept.folder / "night.mab").read_text() == "precious"


def test_nothing_is_left_beside_it(kept):
    fill(kept)
    kept.create()
    assert {path.name for path in kept.folder.iterdir()} == {"home", "master-key", "night.mab"}
    assert list((kept.hub.home / "run").iterdir()) == []


def test_a_file_that_is_gone_is_said_and_stops_nothing(kept):
    fill(kept)
    (kept.hub.home / "chunks" / "packs" / ("d" * 32)).unlink()
    made = kept.create()
    assert made.missing == (f"pack/{'d' * 32}",)
    assert kept.restore("other").files == 1


def test_size_does_not_matter(kept):
    """300 MB of packs in a process that may have 100 MB more than it starts with."""
    with write_tx():
        Pack.insert_many([{"id": f"{number:032x}", "size": 1, "state": "closed"} for number in range(5)]).execute()
    for number in range(5):
        kept.pack(f"{number:032x}", bytes(60_000_000))
    script = """
import resource, sys
from pathlib import Path
from hub.backup.creating import Source, create
from hub.backup.restoring import verify
from hub.storage.vault_master import MasterKey
home, database, key, file = sys.argv[1:]
master = MasterKey.read(key, Path(home))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
create(Source(Path(home), database, master, "x", lambda: 1), Path(file))
verify(Path(file), master)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    settings = kept.hub.settings
    words = [str(settings.home), settings.database, settings.master_key_source, str(kept.folder / "big.mab")]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000, f"{done.stdout} KiB more"


def test_the_head_says_what_it_is_without_any_key(kept):
    made = kept.create()
    with (kept.folder / "night.mab").open("rb") as file:
        head, start = container.Head.read(file)
    assert head == made.head
    assert head.hub == kept.hub.hub_id
    assert "key" in json.loads(start[8:])
    assert hashlib.sha256((kept.folder / "night.mab").read_bytes()).hexdigest() == made.sha256


def test_a_new_epoch_begins_that_spokes_can_follow_from_wherever_they_are(kept):
    chain = trust_chain()
    kept.create()
    done = kept.restore("other")
    open_database(str(kept.folder / "other" / "manyarm.db"))
    with connection():
        restored = trust_chain()
        # A spoke of the time that is forgotten holds a document that this hub never heard of, and takes the next one.
        assert chain.update(restored.frames).document.epoch == done.begun.epoch > chain.document.epoch
        assert restored.version > chain.version + 100
        assert installation().restored_at is not None
