"""What the hand on a target remembers and how it tells of many files, without a connection."""

import hashlib
import os
import time

import pytest

from spokes.agent.machine import Entry
from spokes.remote import hand, machine


@pytest.fixture
def read(monkeypatch):
    """The paths whose bytes were read."""
    paths, digest = [], hand._digest
    monkeypatch.setattr(hand, "_digest", lambda path: paths.append(path) or digest(path))
    return paths


def test_a_file_that_has_rested_is_read_once(tmp_path, monkeypatch, read):
    monkeypatch.setattr(hand, "_RESTED_NS", 0)
    file = tmp_path / "main.py"
    file.write_bytes(b"one")
    time.sleep(0.05)
    known = hand.KnownFiles()
    assert {known.digest(str(file), file.stat()) for _ in range(3)} == {hashlib.sha256(b"one").hexdigest()}
    assert len(read) == 1


def test_a_file_that_was_altered_is_read_again_though_its_size_and_time_are_as_before(tmp_path, monkeypatch, read):
    monkeypatch.setattr(hand, "_RESTED_NS", 0)
    file = tmp_path / "main.py"
    file.write_bytes(b"one")
    time.sleep(0.05)
    known, before = hand.KnownFiles(), file.stat()
    known.digest(str(file), file.stat())
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.digest(str(file), file.stat()) == hashlib.sha256(b"two").hexdigest()
    assert len(read) == 2


def test_a_file_that_was_just_written_is_not_remembered(tmp_path, read):
    file = tmp_path / "main.py"
    file.write_bytes(b"one")
    known = hand.KnownFiles()
    known.digest(str(file), file.stat())
    known.digest(str(file), file.stat())
    assert len(read) == 2


def test_many_files_are_told_in_few_bytes(tmp_path):
    opened = hand.Hand.open({"home": str(tmp_path / "home")})
    names = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(1000)]
    for number, name in enumerate(names[:-1]):
        path = tmp_path / "home" / "chunks" / name
        path.write_bytes(b"x" * (number + 1))
        os.utime(path, (7, 7))
    asked = bytes.fromhex("".join(names))
    _, body = opened.list({"folder": "chunks", "names": "digests", "hashed": False}, asked)
    assert len(body) < 4_000
    expected = {name: Entry(number + 1, "", 7) for number, name in enumerate(names[:-1])}
    assert machine._unpacked(names, body) == expected
