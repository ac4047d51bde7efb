"""Abuse of what lies at rest: ciphertexts altered and moved, keys wrong, missing, exposed; files cut and exchanged."""

import base64
import hashlib
import io
import itertools
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hub.errors import (
    FieldDamaged,
    FileDamaged,
    FileTruncated,
    KeyringDamaged,
    MasterKeyExposed,
    MasterKeyMissing,
    SealBroken,
)
from hub.installation import install
from hub.storage.database import connection, open_database, write_tx
from hub.storage.files import HEAD_SIZE, FileStore
from hub.storage.hub_keys import HUB_BOX, box_keys, purpose_of, signing_key
from hub.storage.key_check import unlock
from hub.storage.models import ALL_TABLES, DataKey, HubKey, LogBlock, Task, Variable, VariableSet, new_row_id
from hub.storage.self_test import prove_sealing
from hub.storage.vault import HOLDERS, Purpose, Vault
from hub.storage.vault_master import MasterKey
from hub.storage.vault_stream import PIECE_OVERHEAD, PIECE_SIZE, STREAM_HEADER_SIZE
from tests.hub.conftest import CHEAP, settings_in

ROOT = Path(__file__).parents[2]
CANARY = "canary-7d1c0b6e-swordfish"


def _variable(hub, name, value, version=1):
    row_id = new_row_id()
    with write_tx():
        row = Variable(id=row_id, owner_kind="set", owner="a" * 32, name=name, secret=True, value_version=version)
        row.value_sealed = hub.vault.seal_field("variable", "value_sealed", row_id, version, value)
        hub.seals.seal(row)
        row.save(force_insert=True)
    return row


def _open(hub, row):
    return hub.vault.open_field("variable", "value_sealed", row.id, row.value_version, row.value_sealed).decode()


# T174, T175, T177: fields


def test_t174_a_flipped_bit_spoils_one_field_and_no_other(installed_hub_on_each):
    hub = installed_hub_on_each
    bad, good = _variable(hub, "Bad", "one"), _variable(hub, "Good", "two")
    content = bytearray(base64.urlsafe_b64decode(bad.value_sealed.split(":")[2] + "=="))
    content[-1] ^= 1
    flipped = bad.value_sealed.rpartition(":")[0] + ":" + base64.urlsafe_b64encode(content).decode().rstrip("=")
    Variable.update(value_sealed=flipped).where(Variable.id == bad.id).execute()
    assert [row.name for row in Variable.select().order_by(Variable.name)] == ["Bad", "Good"]
    with pytest.raises(FieldDamaged, match=bad.id) as refused:
        _open(hub, Variable.get_by_id(bad.id))
    assert refused.value.code == "FIELD_AUTH"
    assert _open(hub, Variable.get_by_id(good.id)) == "two"
    with pytest.raises(SealBroken):
        hub.seals.check(Variable.get_by_id(bad.id))


def test_t174_every_bit_of_a_field_counts(installed_hub):
    row = _variable(installed_hub, "X", "one")
    head, _, text = row.value_sealed.rpartition(":")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for position, bit in itertools.product(range(len(content)), range(8)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        row.value_sealed = f"{head}:{base64.urlsafe_b64encode(flipped).decode().rstrip('=')}"
        with pytest.raises(FieldDamaged):
            _open(installed_hub, row)


def test_t175_the_self_test_passes_and_leaves_nothing(installed_hub_on_each):
    prove_sealing(installed_hub_on_each.vault)
    assert Variable.select().count() == 0


def test_t175_the_self_test_finds_a_layer_that_is_off(installed_hub, monkeypatch):
    monkeypatch.setattr(Vault, "seal_field", lambda *parts: parts[-1])
    with pytest.raises(KeyringDamaged, match="in the clear"):
        prove_sealing(installed_hub.vault)
    assert Variable.select().count() == 0


@pytest.mark.slow
def test_t175_no_nonce_comes_twice_in_a_million(installed_hub):
    seal = installed_hub.vault.seal_block
    nonces = {seal(Purpose.CONTENT, (), b"")[18:42] for _ in range(1_000_000)}
    assert len(nonces) == 1_000_000


@pytest.mark.parametrize(
    "text",
    ["", "e1", "e1:", "e1::", "x", "AAAAAAAAAAAAAAAA", "A" * 53, "A" * 54 + "=", "QR==", "é", "A A" * 30, "A" * 5000],
)
def test_t175_a_short_or_malformed_ciphertext_is_refused(installed_hub, text):
    row = _variable(installed_hub, "X", "one")
    dek_id = row.value_sealed.split(":")[1]
    for sealed in (
        text,
        f"e1:{dek_id}:{text}",
        f"e0:{dek_id}:{row.value_sealed.split(':')[2]}",
        f"e1:{'0' * 32}:{text}",
    ):
        row.value_sealed = sealed
        with pytest.raises(FieldDamaged):
            _open(installed_hub, row)


def test_t175_a_short_tag_is_refused(installed_hub):
    row = _variable(installed_hub, "X", "one")
    head, _, text = row.value_sealed.rpartition(":")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for length in range(len(content)):
        row.value_sealed = f"{head}:{base64.urlsafe_b64encode(content[:length]).decode().rstrip('=')}"
        with pytest.raises(FieldDamaged):
            _open(installed_hub, row)


def test_t175_a_second_spelling_of_a_ciphertext_is_refused(installed_hub):
    row = _variable(installed_hub, "X", "1")
    right = row.value_sealed
    assert len(right.rpartition(":")[2]) % 4 == 3, "the last letter has spare bits"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = right[:-1] + letters[letters.index(right[-1]) + 1]
    for other in (spare, right + "=", right + "\n", right[:60] + " " + right[60:], right.replace("e1", "E1")):
        row.value_sealed = other
        with pytest.raises(FieldDamaged):
            _open(installed_hub, row)


def test_t177_an_older_ciphertext_of_the_same_field_is_refused(installed_hub_on_each):
    hub = installed_hub_on_each
    row = _variable(hub, "X", "old")
    old = row.value_sealed
    with write_tx():
        row.value_version += 1
        row.version += 1
        row.value_sealed = hub.vault.seal_field("variable", "value_sealed", row.id, row.value_version, "new")
        hub.seals.seal(row)
        row.save()
    Variable.update(value_sealed=old).where(Variable.id == row.id).execute()
    stored = Variable.get_by_id(row.id)
    with pytest.raises(FieldDamaged):
        _open(hub, stored)
    with pytest.raises(SealBroken):
        hub.seals.check(stored)
    # With the version put back too, the field opens but the row is not used.
    Variable.update(value_version=1).where(Variable.id == row.id).execute()
    with pytest.raises(SealBroken):
        hub.seals.check(Variable.get_by_id(row.id))


def test_t177_a_ciphertext_of_another_row_is_refused(installed_hub_on_each):
    hub = installed_hub_on_each
    one, two = _variable(hub, "One", "1"), _variable(hub, "Two", "2")
    Variable.update(value_sealed=one.value_sealed).where(Variable.id == two.id).execute()
    with pytest.raises(FieldDamaged):
        _open(hub, Variable.get_by_id(two.id))


# T178: key files


@pytest.fixture
def key_file(tmp_path):
    (tmp_path / "home").mkdir()
    path = tmp_path / "master-key"
    path.write_text("ab" * 32)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o677])
def test_t178_a_key_that_others_reach_is_refused(key_file, tmp_path, mode):
    key_file.chmod(mode)
    with pytest.raises(MasterKeyExposed) as refused:
        MasterKey.read(f"file:{key_file}", tmp_path / "home")
    assert (refused.value.code, refused.value.exit_status) == ("MK_PERMS", 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_t178_a_key_of_another_user_is_refused(key_file, tmp_path):
    os.chown(key_file, 65_534, 65_534)
    with pytest.raises(MasterKeyExposed, match="65534"):
        MasterKey.read(f"file:{key_file}", tmp_path / "home")


def test_t178_a_link_a_folder_or_a_pipe_is_no_key(key_file, tmp_path):
    (tmp_path / "link").symlink_to(key_file)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "pipe", "folder"):
        with pytest.raises(MasterKeyExposed):
            MasterKey.read(f"file:{tmp_path / name}", tmp_path / "home")


def test_t178_a_key_inside_the_home_is_refused_on_any_way_there(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "side").symlink_to(home)
    for path in (home / "key", tmp_path / "side" / "key", home / "x" / ".." / "key"):
        with pytest.raises(MasterKeyExposed):
            MasterKey.create(f"file:{path}", home)
    (home / "key").write_text("ab" * 32)
    (home / "key").chmod(0o600)
    for path in (home / "key", tmp_path / "side" / "key"):
        with pytest.raises(MasterKeyExposed):
            MasterKey.read(f"file:{path}", home)


def test_t178_under_umask_0_a_key_is_private_from_its_first_moment(tmp_path, monkeypatch):
    opened, tightened = [], []
    real = os.open

    def watched(path, flags, mode=0o777, **options):
        if flags & os.O_CREAT:
            opened.append((Path(path).name, mode, bool(flags & os.O_EXCL), bool(flags & os.O_NOFOLLOW)))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(os, "chmod", lambda *call, **options: tightened.append(call))
    monkeypatch.setattr(os, "fchmod", lambda *call: tightened.append(call))
    old = os.umask(0)
    try:
        MasterKey.create(f"file:{tmp_path / 'k'}", tmp_path / "home")
    finally:
        os.umask(old)
    assert opened == [("k", 0o600, True, True)]
    assert tightened == []
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600


# T179, T180: wrong, missing, damaged

START = """
import sys
from pathlib import Path
from hub.errors import HubError
from hub.storage.key_check import unlock
try:
    unlock(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
except HubError as error:
    print(error.code, error.detail)
    sys.exit(error.exit_status)
"""


def _start(settings, source=None):
    return subprocess.run(
        [sys.executable, "-c", START, source or settings.master_key_source, str(settings.home), settings.database],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip


def _everything(folder):
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def cold_hub(tmp_path):
    """Installed, and nobody has it open."""
    settings = settings_in(tmp_path)
    installed = install(settings, cost=CHEAP)
    (settings.home / "artifacts").mkdir()
    (settings.home / "artifacts" / "x.maf").write_bytes(b"MAF1" + os.urandom(100))
    return settings, installed


@pytest.fixture
def other_key(tmp_path):
    key, _ = MasterKey.create(f"file:{tmp_path / 'other-key'}", tmp_path / "home")
    return key, f"file:{tmp_path / 'other-key'}"


def test_t179_a_wrong_key_ends_with_3_names_both_and_changes_no_byte(cold_hub, other_key):
    settings, _ = cold_hub
    key, source = other_key
    right = MasterKey.read(settings.master_key_source, settings.home)
    before = _everything(settings.home)
    ended = _start(settings, source)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.startswith("MK_WRONG")
    assert key.id in ended.stdout
    assert right.id in ended.stdout
    assert key.key.hex() not in ended.stdout + ended.stderr
    assert _everything(settings.home) == before
    assert _start(settings).returncode == 0
    assert _everything(settings.home) == before


def test_t179_also_after_a_hub_was_killed_with_its_wal_full(tmp_path, other_key):
    settings = settings_in(tmp_path)
    install(settings, cost=CHEAP)
    opened = open_database(settings.database)
    killed = settings_in(tmp_path / "killed")
    with connection():
        with write_tx():
            VariableSet.create(name="in the WAL")
        shutil.copytree(settings.home, killed.home)
    opened.close()
    assert (killed.home / "manyarm.db-wal").stat().st_size > 0
    before = _everything(killed.home)
    assert _start(killed, other_key[1]).stdout.startswith("MK_WRONG")
    assert _start(killed, settings.master_key_source).returncode == 0
    assert _everything(killed.home) == before


def test_t179_also_where_the_hub_died_before_its_first_checkpoint(tmp_path, other_key, monkeypatch):
    settings, killed = settings_in(tmp_path), settings_in(tmp_path / "killed")
    # As a process that dies right after the commit: the copy is taken before the WAL is moved into the file.
    monkeypatch.setattr("hub.installation.flush_wal", lambda _database: shutil.copytree(settings.home, killed.home))
    install(settings, cost=CHEAP)
    before = _everything(killed.home)
    assert _start(killed, other_key[1]).stdout.startswith("MK_WRONG")
    assert _start(killed, settings.master_key_source).returncode == 0
    assert _everything(killed.home) == before


@pytest.mark.postgres
def test_t179_on_postgresql_too(tmp_path, postgres_url, other_key):
    settings = settings_in(tmp_path, postgres_url)
    install(settings, cost=CHEAP)
    ended = _start(settings, other_key[1])
    assert (ended.returncode, ended.stdout.split()[0]) == (3, "MK_WRONG")
    assert _start(settings).returncode == 0


def test_t180_missing_wrong_and_damaged_are_three_messages(cold_hub, other_key, tmp_path):
    settings, installed = cold_hub
    before = _everything(settings.home)
    missing = _start(settings, f"file:{tmp_path / 'nowhere'}")
    wrong = _start(settings, other_key[1])
    (tmp_path / "garbage").write_text("not a key")
    (tmp_path / "garbage").chmod(0o600)
    damaged = _start(settings, f"file:{tmp_path / 'garbage'}")
    assert [ended.stdout.split()[0] for ended in (missing, wrong, damaged)] == ["MK_MISSING", "MK_WRONG", "MK_DAMAGED"]
    assert [ended.returncode for ended in (missing, wrong, damaged)] == [3, 3, 3]
    assert MasterKey.read(settings.master_key_source, settings.home).id in missing.stdout
    assert _everything(settings.home) == before
    assert installed.recovery_string not in missing.stdout + wrong.stdout + damaged.stdout


def test_t180_the_recovery_string_opens_a_hub_whose_key_file_is_lost(cold_hub, tmp_path):
    settings, installed = cold_hub
    (tmp_path / "home.master-key").unlink()
    with pytest.raises(MasterKeyMissing, match="recovery string"):
        unlock(settings.master_key_source, settings.home, settings.database)
    (tmp_path / "home.master-key").touch(mode=0o600)
    (tmp_path / "home.master-key").write_text(installed.recovery_string + "\n")
    master = unlock(settings.master_key_source, settings.home, settings.database)
    open_database(settings.database)
    with connection():
        Vault.open(master.kek("engine"), DataKey.select())


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM data_key",
        "DELETE FROM installation",
        "UPDATE data_key SET mk_check = 'ab' WHERE purpose = 'field'",
        "UPDATE installation SET mk_check = replace(mk_check, substr(mk_check, 1, 8), '00000000')",
    ],
)
def test_t180_a_half_written_or_contradicting_keyring_is_damaged(cold_hub, statement):
    settings, _ = cold_hub
    with closing(sqlite3.connect(settings.home / "manyarm.db")) as writer:
        writer.execute(statement)
        writer.commit()
    with pytest.raises(KeyringDamaged) as refused:
        unlock(settings.master_key_source, settings.home, settings.database)
    assert (refused.value.code, refused.value.exit_status) == ("MK_DAMAGED", 3)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM data_key WHERE purpose = 'field'",
        "UPDATE data_key SET wrapped = zeroblob(72) WHERE purpose = 'audit'",
        "UPDATE data_key SET wrapped = substr(wrapped, 1, 40) WHERE purpose = 'audit'",
        "UPDATE data_key SET purpose = 'field' WHERE purpose = 'hubkeys'",
        "UPDATE data_key SET state = 'read' WHERE purpose = 'content'",
    ],
)
def test_t180_a_keyring_that_fits_but_does_not_open_is_damaged(cold_hub, statement):
    settings, _ = cold_hub
    with closing(sqlite3.connect(settings.home / "manyarm.db")) as writer:
        writer.execute(statement)
        writer.commit()
    master = unlock(settings.master_key_source, settings.home, settings.database)
    open_database(settings.database)
    with connection(), pytest.raises(KeyringDamaged):
        Vault.open(master.kek("engine"), DataKey.select())


@pytest.mark.parametrize("keep", [100, 5000, 0.5])
def test_t180_a_cut_database_file_is_damaged(cold_hub, keep):
    settings, _ = cold_hub
    path = settings.home / "manyarm.db"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(KeyringDamaged):
        _open_and_look(settings)


def _open_and_look(settings):
    master = unlock(settings.master_key_source, settings.home, settings.database)
    # What was cut may lie behind what this check reads: then the database itself says so.
    open_database(settings.database)
    with connection() as opened:
        if opened.execute_sql("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise KeyringDamaged(f"found later under {master.id}")


# T181: files


@pytest.fixture
def store(installed_hub, tmp_path):
    return FileStore(installed_hub.vault, tmp_path / "files")


ONE, TWO = "a1" * 16, "b2" * 16


def test_t181_a_small_file_cut_anywhere_is_refused(store, tmp_path):
    store.write("artifact", ONE, io.BytesIO(b"hello"))
    path = store.path_of("artifact", ONE)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileDamaged) as refused:
            store.copy_out("artifact", ONE, tmp_path / "out")
        assert refused.value.code in {"FILE_TRUNC", "FILE_AUTH"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_t181_a_file_cut_between_pieces_is_truncated(store, tmp_path, pieces):
    store.write("artifact", ONE, io.BytesIO(os.urandom(3 * PIECE_SIZE + 5)))
    path = store.path_of("artifact", ONE)
    whole = path.read_bytes()
    cut = HEAD_SIZE + STREAM_HEADER_SIZE + pieces * (PIECE_SIZE + PIECE_OVERHEAD)
    for length, expected in (
        (cut, FileTruncated),
        (cut + 3, FileTruncated),
        (cut - 1, FileDamaged),
        (cut + 20, FileDamaged),
    ):
        path.write_bytes(whole[:length])
        with pytest.raises(expected):
            store.copy_out("artifact", ONE, tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def test_t181_a_file_that_was_extended_is_refused(store):
    store.write("artifact", ONE, io.BytesIO(b"x" * PIECE_SIZE))
    path = store.path_of("artifact", ONE)
    whole = path.read_bytes()
    for tail in (b"\0", os.urandom(100), whole[HEAD_SIZE + STREAM_HEADER_SIZE :]):
        path.write_bytes(whole + tail)
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))


def test_t181_every_byte_of_the_header_counts(store):
    store.write("artifact", ONE, io.BytesIO(b"hello"))
    path = store.path_of("artifact", ONE)
    whole = bytearray(path.read_bytes())
    for position in range(len(whole)):
        whole[position] ^= 0x40
        path.write_bytes(whole)
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))
        whole[position] ^= 0x40


def test_t181_the_header_of_another_file_and_another_objects_file_are_refused(store):
    store.write("artifact", ONE, io.BytesIO(b"one"))
    store.write("artifact", TWO, io.BytesIO(b"two"))
    store.write("upload", ONE, io.BytesIO(b"three"))
    first, second, other = (store.path_of(*at) for at in (("artifact", ONE), ("artifact", TWO), ("upload", ONE)))
    contents = [path.read_bytes() for path in (first, second, other)]
    for foreign in contents[1:]:
        first.write_bytes(foreign)
        with pytest.raises(FileDamaged, match="another object"):
            list(store.open("artifact", ONE))
        first.write_bytes(foreign[:HEAD_SIZE] + contents[0][HEAD_SIZE:])
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))
        first.write_bytes(contents[0][:HEAD_SIZE] + foreign[HEAD_SIZE:])
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))


def test_t181_exchanged_pieces_are_refused(store):
    store.write("artifact", ONE, io.BytesIO(os.urandom(3 * PIECE_SIZE)))
    path = store.path_of("artifact", ONE)
    whole, start, size = path.read_bytes(), HEAD_SIZE + STREAM_HEADER_SIZE, PIECE_SIZE + PIECE_OVERHEAD
    one, two, rest = whole[start : start + size], whole[start + size : start + 2 * size], whole[start + 2 * size :]
    for mixed in (two + one + rest, one + one + rest, two + rest, one + two + two + rest):
        path.write_bytes(whole[:start] + mixed)
        with pytest.raises(FileDamaged):
            list(store.open("artifact", ONE))


# T183, T185, T186: what a thief of disks, of memory images, of built artefacts finds


def _spellings(secret):
    return {
        secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret).rstrip(b"=")[:-1],
        base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1], base64.b32encode(secret).rstrip(b"=")[:-1],
        base64.b32encode(secret).rstrip(b"=")[:-1].lower(),
    }  # fmt: skip


def _dump(hub):
    """Every value of every table, and every byte of every file beside it."""
    parts = []
    for model in ALL_TABLES:
        for row in model.select().tuples():
            parts += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    parts += [path.read_bytes() for path in hub.home.rglob("*") if path.is_file()]
    return b"\0".join(parts)


def test_t183_disk_and_database_show_no_secret_and_no_private_key(installed_hub_on_each):
    hub = installed_hub_on_each
    _variable(hub, "Token", CANARY)
    FileStore(hub.vault, hub.home / "artifacts").write("artifact", ONE, io.BytesIO(CANARY.encode() * 3))
    with write_tx():
        task = Task.create(kind="script-run", title="x")
        block = new_row_id()
        sealed = hub.vault.seal_block(Purpose.CONTENT, ("log", task.id, block), CANARY.encode())
        LogBlock.create(
            id=block, task=task, first_line=0, lines=1, first_at=1, last_at=1, bytes_plain=25, sealed=sealed
        )
    secrets = [CANARY.encode(), hub.master.key, hub.installed.setup_code.replace("-", "").encode()]
    secrets += [hub.master.kek(name).key for name in ("engine", "portal", "gateway")]
    secrets += [hub.vault.keyring(purpose).active for purpose in HOLDERS]
    secrets += [signing_key(hub.vault, row.role).seed for row in HubKey.select() if row.role != HUB_BOX]
    secrets += [key.secret for key in box_keys(hub.vault)]
    assert len(secrets) == 3 + 3 + len(HOLDERS) + 8 + 1
    found = _dump(hub)
    assert b"Token" in found
    for secret in secrets:
        assert not [text for text in _spellings(secret) if text in found]


def test_t183_the_key_lies_outside_of_what_a_backup_of_the_home_takes(installed_hub):
    names = {path.name for path in installed_hub.home.rglob("*")}
    assert "home.master-key" not in names
    assert (installed_hub.home.parent / "home.master-key").exists()


CRASH = """
import os, resource, sys
allowed = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))
from hub.hardening import harden
if sys.argv[1] == "hardened":
    harden()
os.abort()
"""


def _crash(how, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", CRASH, how],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    with process.stderr as said:
        assert os.WIFSIGNALED(status), said.read().decode()
    return status


def test_t185_a_process_that_aborts_leaves_no_core(tmp_path):
    status = _crash("hardened", tmp_path)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_t185_hardening_limits_cores_and_makes_new_files_private(tmp_path):
    program = (
        "import os, resource; from hub.hardening import harden; harden(); "
        "open('made', 'w').close(); print(resource.getrlimit(resource.RLIMIT_CORE), oct(os.stat('made').st_mode & 0o777))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.stdout == "(0, 0) 0o600\n", ended.stderr


def test_t185_and_the_test_can_see_one(tmp_path):
    # Where the machine hands cores to a program, or allows none, the test above proves the limit alone.
    elsewhere = Path("/proc/sys/kernel/core_pattern").read_text().startswith("|")
    allowed = resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
    assert os.WCOREDUMP(_crash("plain", tmp_path)) or elsewhere or not allowed


def test_t185_debug_logs_of_libraries_show_no_secret(installed_hub, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("peewee").setLevel(logging.DEBUG)
    row = _variable(installed_hub, "Token", CANARY)
    assert _open(installed_hub, Variable.get_by_id(row.id)) == CANARY
    seed = signing_key(installed_hub.vault, HubKey.get(HubKey.role == "hub-command").role).seed
    logging.getLogger("peewee").setLevel(logging.WARNING)
    assert "INSERT INTO" in caplog.text
    for secret in (CANARY.encode(), seed, installed_hub.master.key):
        assert not [text for text in _spellings(secret) if text in caplog.text.encode("utf-8", "replace")]


def test_t185_a_failed_opening_tells_nothing_of_the_plaintext(installed_hub):
    row = _variable(installed_hub, "Token", CANARY)
    with pytest.raises(FieldDamaged) as refused:
        installed_hub.vault.open_field("variable", "value_sealed", row.id, 2, row.value_sealed)
    assert CANARY not in repr(refused.getrepr(showlocals=False))
    assert purpose_of("hub-command") == Purpose.HUBKEYS
