"""The wheel that the hub packs for its targets has what `make wheel` builds, no more and no less."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from hub.wheel import ROOMS, pack_wheel

ROOT = Path(__file__).resolve().parents[2]
INFO = f"manyarm-{metadata.version('manyarm')}.dist-info"
MUST = (
    "config/hub.toml",
    "config/spoke.toml",
    "config/rabbitmq/node.conf",
    "config/systemd/manyarm-hub.service",
    "hub/access/common_passwords.txt",
    "hub/gateway/install.sh",
    "hub/storage/migrations/0001_keyring.py",
    "portal/static/manyarm.css",
    "portal/static/task.js",
    "portal/templates/layout.html",
    "runner/__main__.py",
    "runner/contract/job.py",
    "runner/steps/deploy_package.py",
    "spokes/__main__.py",
    "wire/envelope.py",
)


def copied(folder):
    """This checkout as a fresh one, with an environment that is ours under another name."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt", "requirements-dev.txt", "dev"):
        shutil.copy(ROOT / name, folder / name)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    locks = "{ .venv/bin/python -V; cat requirements.txt requirements-dev.txt pyproject.toml; } 2>&1 | cksum"
    stamp = subprocess.run(["sh", "-c", locks], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / ".venv" / "stamp").write_text(f"dev {stamp.strip()}")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What `make wheel` builds, in a checkout where an older build has left a file that is gone since."""
    folder = copied(tmp_path_factory.mktemp("checkout"))
    stale = folder / "build" / "lib" / "hub" / "long_gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    done = subprocess.run(
        ["./dev", "wheel"], cwd=folder, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return content_of(next((folder / "dist").glob("*.whl")))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return content_of(pack_wheel(tmp_path_factory.mktemp("wheels")))


def content_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


@pytest.mark.slow
def test_both_wheels_hold_the_same_files(built, packed):
    assert sorted(built) == sorted(packed)
    made = {f"{INFO}/{name}" for name in ("RECORD", "WHEEL", "METADATA")}
    assert [name for name in sorted(built) if name not in made and built[name] != packed[name]] == []


@pytest.mark.slow
def test_what_is_gone_from_the_checkout_is_in_no_wheel(built):
    assert "hub/long_gone.py" not in built


@pytest.mark.slow
def test_both_wheels_ask_for_the_same_libraries(built, packed):
    heads = [content[f"{INFO}/METADATA"].split(b"\n\n")[0].splitlines() for content in (built, packed)]
    asked = [[line for line in head if line.startswith((b"Requires", b"Provides-Extra"))] for head in heads]
    assert asked[0] == asked[1]
    assert b"Provides-Extra: spoke" in asked[0]


@pytest.mark.parametrize("name", MUST)
def test_what_is_read_at_run_time_is_in_the_wheel(packed, name):
    assert packed[name]


def test_nothing_else_is_in_the_wheel(packed):
    tops = {name.split("/")[0] for name in packed}
    assert tops == {*ROOMS, INFO}
    assert [name for name in packed if "__pycache__" in name or "/tests/" in name] == []


def test_every_file_is_in_the_record_with_its_hash(packed):
    listed = dict(line.rsplit(",", 2)[:2] for line in packed[f"{INFO}/RECORD"].decode().splitlines())
    assert sorted(listed) == sorted(packed)
    for name, content in packed.items():
        if name != f"{INFO}/RECORD":
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert listed[name] == f"sha256={digest}"


def test_the_same_files_are_the_same_bytes_and_are_not_written_again(tmp_path):
    first = pack_wheel(tmp_path)
    before = first.stat()
    assert pack_wheel(tmp_path) == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert first.read_bytes() == pack_wheel(tmp_path / "elsewhere").read_bytes()
    assert list(tmp_path.glob("*.new")) == []
