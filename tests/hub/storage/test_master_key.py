"""Where the master key may come from, and how it is written down."""

import json
import os
import stat

import pytest

from hub.errors import Invalid, KeyringDamaged, MasterKeyError, MasterKeyExposed, MasterKeyMissing
from hub.storage.vault_master import PASSPHRASE_FD, MasterKey, PassphraseCost, read_kek, write_kek
from tests.hub.conftest import CHEAP


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def _phrase(monkeypatch, text):
    read, write = os.pipe()
    os.write(write, text.encode() + b"\n")
    os.close(write)
    monkeypatch.setenv(PASSPHRASE_FD, str(read))


def test_the_recovery_string_is_the_key(tmp_path, home):
    made, recovery = MasterKey.create(f"file:{tmp_path / 'k'}", home)
    assert MasterKey.from_text(recovery.upper().replace("-", " - ")).key == made.key
    assert MasterKey.read(f"file:{tmp_path / 'k'}", home).check == made.check
    assert made.key.hex() not in repr(made)


def test_one_mistyped_letter_of_the_recovery_string_is_noticed(tmp_path, home):
    _, recovery = MasterKey.create(f"file:{tmp_path / 'k'}", home)
    for position in range(5, len(recovery)):
        if recovery[position] == "-":
            continue
        other = "a" if recovery[position] != "a" else "b"
        with pytest.raises(KeyringDamaged):
            MasterKey.from_text(recovery[:position] + other + recovery[position + 1 :])


def test_a_key_file_may_hold_the_recovery_string(tmp_path, home):
    made, recovery = MasterKey.create(f"file:{tmp_path / 'k'}", home)
    (tmp_path / "k").write_text(recovery + "\n")
    assert MasterKey.read(f"file:{tmp_path / 'k'}", home).key == made.key


def test_a_key_file_that_is_there_is_not_written_over(tmp_path, home):
    MasterKey.create(f"file:{tmp_path / 'k'}", home)
    before = (tmp_path / "k").read_text()
    with pytest.raises(Invalid):
        MasterKey.create(f"file:{tmp_path / 'k'}", home)
    assert (tmp_path / "k").read_text() == before


def test_a_systemd_credential(tmp_path, home, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mk").write_text("ab" * 32)
    assert MasterKey.read("systemd-credential:mk", home).key == b"\xab" * 32
    with pytest.raises(MasterKeyMissing):
        MasterKey.read("systemd-credential:other", home)
    with pytest.raises(Invalid):
        MasterKey.read("systemd-credential:../mk", home)


def test_a_key_in_the_environment_is_taken_out_of_it(home, monkeypatch):
    monkeypatch.setenv("THE_KEY", "cd" * 32)
    assert MasterKey.read("env:THE_KEY", home).key == b"\xcd" * 32
    assert "THE_KEY" not in os.environ
    with pytest.raises(MasterKeyMissing):
        MasterKey.read("env:THE_KEY", home)


def test_a_passphrase_gives_the_same_key_again_and_another_gives_another(home, monkeypatch):
    _phrase(monkeypatch, "correct horse battery")
    made, _ = MasterKey.create("passphrase", home, CHEAP)
    _phrase(monkeypatch, "correct horse battery")
    assert MasterKey.read("passphrase", home).key == made.key
    _phrase(monkeypatch, "correct horse batterz")
    assert MasterKey.read("passphrase", home).check != made.check
    assert not list(home.iterdir())


def test_a_passphrase_costs_what_the_specification_says_unless_a_test_says_less(home):
    assert PassphraseCost() == PassphraseCost(ops=3, memory_bytes=256 * 1024 * 1024)


def test_a_short_passphrase_is_refused(home, monkeypatch):
    _phrase(monkeypatch, "too short")
    with pytest.raises(Invalid):
        MasterKey.create("passphrase", home, CHEAP)


def test_without_a_terminal_a_passphrase_is_missing(home, monkeypatch):
    _phrase(monkeypatch, "correct horse battery")
    MasterKey.create("passphrase", home, CHEAP)
    monkeypatch.delenv(PASSPHRASE_FD, raising=False)
    with open("/dev/null", encoding="ascii") as nowhere:
        monkeypatch.setattr("sys.stdin", nowhere)
        with pytest.raises(MasterKeyMissing, match="terminal"):
            MasterKey.read("passphrase", home)


def test_a_program_wraps_and_unwraps(tmp_path, home):
    hook = tmp_path / "kms"
    hook.write_text('#!/bin/sh\n[ "$1" = wrap ] && exec tr 0-9a-f f0-9a-e\nexec tr f0-9a-e 0-9a-f\n')
    hook.chmod(0o755)
    made, _ = MasterKey.create(f"exec:{hook}", home)
    wrapped = (tmp_path / "home.master-wrapped").read_text()
    assert made.key.hex() not in wrapped
    assert MasterKey.read(f"exec:{hook}", home).key == made.key
    hook.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(MasterKeyMissing, match="status 9"):
        MasterKey.read(f"exec:{hook}", home)


def test_sources_are_tried_in_order_and_never_silently(tmp_path, home, monkeypatch, caplog):
    monkeypatch.setenv("THE_KEY", "cd" * 32)
    assert MasterKey.read(f"file:{tmp_path / 'none'},env:THE_KEY", home).key == b"\xcd" * 32
    assert "master key source has none" in caplog.text
    with pytest.raises(MasterKeyMissing, match=r"none.*THE_KEY"):
        MasterKey.read(f"file:{tmp_path / 'none'},env:THE_KEY", home)


def test_a_source_that_fails_otherwise_is_not_passed_over(tmp_path, home, monkeypatch):
    monkeypatch.setenv("THE_KEY", "cd" * 32)
    (tmp_path / "k").write_text("ab" * 32)
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(MasterKeyExposed):
        MasterKey.read(f"file:{tmp_path / 'k'},env:THE_KEY", home)


@pytest.mark.parametrize("source", ["", "file:", "vault:x", "exec:", "env"])
def test_a_source_that_is_none_is_refused(home, source):
    with pytest.raises(Invalid):
        MasterKey.read(source, home)


def test_a_program_by_relative_path_is_refused(home):
    with pytest.raises(Invalid):
        MasterKey.create("exec:kms", home)


def test_a_class_key_file_goes_to_another_machine_and_opens_the_same(tmp_path, home):
    made, _ = MasterKey.create(f"file:{tmp_path / 'k'}", home)
    write_kek(made.kek("portal"), tmp_path / "portal.kek")
    assert read_kek(tmp_path / "portal.kek", home) == made.kek("portal")
    assert stat.S_IMODE((tmp_path / "portal.kek").stat().st_mode) == 0o600
    assert made.key.hex() not in (tmp_path / "portal.kek").read_text()
    broken = json.loads((tmp_path / "portal.kek").read_text()) | {"class": "root"}
    (tmp_path / "portal.kek").write_text(json.dumps(broken))
    with pytest.raises(MasterKeyError):
        read_kek(tmp_path / "portal.kek", home)
