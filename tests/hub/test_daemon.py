"""The daemon starts parts with their keys, starts again what dies, and leaves nothing behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hub.broker.process import is_alive, mark, wait_gone
from hub.daemon import Daemon, HouseSpoke, Part, PartFailed, end_leftovers, running_state, state_file

PRELUDE = """
import os, signal, sys, threading, time
sys.path.insert(0, {root!r})
from hub import child
key = child.inherited_key()
child.leave_with_parent(lambda: os._exit(7))
"""
GOOD = (
    PRELUDE
    + "open({out!r}, 'a').write(key.hex() + ' ' + str(os.getpid()) + chr(10)); child.say_ready(); signal.pause()"
)
GOOD_BUT_SECOND = (
    PRELUDE + "open({out!r}, 'a').write(key.hex() + ' ' + str(os.getpid()) + chr(10))\n"
    "if open({out!r}).read().count(chr(10)) == 2: child.say_failed('the port is taken', 1); sys.exit(1)\n"
    "child.say_ready(); signal.pause()"
)
REFUSES = PRELUDE + "child.say_failed('the key is another one', 3); sys.exit(3)"
DIES = "import sys; print('no such thing', file=sys.stderr); sys.exit(5)"


def until(true, words, limit_s=20):
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end, words
        time.sleep(0.02)
    return found


class Rig:
    def __init__(self, home: Path):
        self.home = home
        self.out = home / "out"
        self.failed: Exception | None = None
        self.ready = threading.Event()

    def part(self, code: str, name="engine", key=b"k" * 32) -> Part:
        source = code.replace("{root!r}", repr(os.getcwd())).replace("{out!r}", repr(str(self.out)))
        return Part(name, (sys.executable, "-c", source), lambda: key)

    def start(self, *parts: Part, house=()):
        self.daemon = Daemon(self.home, None, parts, lambda: os.environ, {"portal": "http://127.0.0.1:1"}, house)

        def run():
            try:
                self.daemon.run(self.ready.set)
            except Exception as error:
                self.failed = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def stop(self):
        self.daemon.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def starts(self) -> list[tuple[str, int]]:
        with contextlib.suppress(FileNotFoundError):
            return [(k, int(p)) for k, p in (line.split() for line in self.out.read_text().splitlines())]
        return []


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def test_a_part_gets_its_own_key_and_is_gone_after_the_stop(rig):
    rig.start(rig.part(GOOD, "engine", b"e" * 32), rig.part(GOOD, "portal", b"p" * 32))
    assert rig.ready.wait(20)
    assert [key for key, _ in rig.starts()] == [(b"e" * 32).hex(), (b"p" * 32).hex()]
    state = running_state(rig.home)
    assert state["portal"] == "http://127.0.0.1:1"
    known = [mark(pid) for _, pid in rig.starts()]
    rig.stop()
    assert not any(is_alive(one) for one in known)
    assert not state_file(rig.home).exists()


def test_a_part_that_is_killed_is_started_again(rig):
    rig.start(rig.part(GOOD))
    assert rig.ready.wait(20)
    os.kill(rig.starts()[0][1], signal.SIGKILL)
    until(lambda: len(rig.starts()) == 2, "the part was not started again")
    rig.stop()
    assert rig.failed is None


def test_a_part_that_cannot_start_again_at_once_is_tried_until_it_can(rig):
    rig.start(rig.part(GOOD_BUT_SECOND))
    assert rig.ready.wait(20)
    os.kill(rig.starts()[0][1], signal.SIGKILL)
    until(lambda: len(rig.starts()) == 3, "the part was given up")
    assert rig.failed is None
    rig.stop()


def test_a_part_that_cannot_work_ends_the_whole_with_its_words_and_status(rig):
    rig.start(rig.part(GOOD, "engine"), rig.part(REFUSES, "portal"))
    rig.thread.join(30)
    assert isinstance(rig.failed, PartFailed)
    assert (str(rig.failed), rig.failed.status) == ("the key is another one", 3)
    assert not is_alive(mark(rig.starts()[0][1]))


def test_a_part_that_dies_at_start_is_told_with_its_last_words(rig):
    rig.start(rig.part(DIES))
    rig.thread.join(30)
    assert "no such thing" in str(rig.failed)
    assert rig.failed.status == 5


def test_parts_leave_when_the_daemon_is_killed(rig, tmp_path):
    rig.home.joinpath("run").mkdir()
    driver = (
        f"import os, sys; sys.path.insert(0, {os.getcwd()!r})\n"
        "from pathlib import Path\n"
        "from hub.daemon import Daemon, Part\n"
        f"part = Part('engine', (sys.executable, '-c', {rig.part(GOOD).argv[2]!r}), lambda: b'k' * 32)\n"
        f"Daemon(Path({str(rig.home)!r}), None, [part], lambda: os.environ, {{}}).run(lambda: None)\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", driver])
    try:
        _, pid = until(rig.starts, "the part did not start")[0]
        known = mark(pid)
        until(lambda: running_state(rig.home), "no state was written")
        assert json.loads(state_file(rig.home).read_text())["parts"]["engine"]["pid"] == pid
    finally:
        daemon.kill()
        daemon.wait()
    assert wait_gone(known, 20)
    assert running_state(rig.home) is None
    end_leftovers(rig.home)


HOUSE = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from config import parent
parent.leave_with_parent(lambda: os._exit(7))
open({out!r}, 'a').write(','.join(sorted(n for n in os.environ if n.startswith('MANYARM'))) + ' ' + str(os.getpid()) + chr(10))
parent.say_ready(); signal.pause()
"""


def house_spoke(rig, code, name="local"):
    source = code.replace("{root!r}", repr(os.getcwd())).replace("{out!r}", repr(str(rig.out)))
    return HouseSpoke(name, (sys.executable, "-c", source), {"PATH": os.environ["PATH"]})


def test_a_house_spoke_gets_no_key_and_nothing_of_our_environment(rig, monkeypatch):
    monkeypatch.setenv("MANYARM_MASTER_KEY", "env:SECRET")
    rig.start(house=[house_spoke(rig, HOUSE)])
    said, pid = until(rig.starts, "it was not started")[0]
    assert said == "MANYARM_LOG_FILE,MANYARM_READY_FD"  # The leash is taken out by whoever holds it.
    assert str(pid) in str(running_state(rig.home)["parts"]["local"]["pid"])
    rig.stop()
    assert not is_alive(mark(pid))


def test_a_house_spoke_that_cannot_start_ends_nothing_and_is_tried_again(rig):
    rig.start(
        rig.part(GOOD), house=[house_spoke(rig, "open({out!r}, 'a').write('no 0' + chr(10)); raise SystemExit(3)")]
    )
    assert rig.ready.wait(20)
    until(lambda: [said for said, _ in rig.starts()].count("no") >= 2, "it was not tried again")
    assert rig.failed is None
    assert rig.thread.is_alive()
    rig.stop()


def test_a_house_spoke_leaves_with_a_killed_daemon(rig, tmp_path):
    program = (
        f"import os, sys, threading; sys.path.insert(0, {os.getcwd()!r})\n"
        "from pathlib import Path; from hub.daemon import Daemon, HouseSpoke\n"
        f"spoke = HouseSpoke('local', ({sys.executable!r}, '-c', {house_spoke(rig, HOUSE).argv[2]!r}), {{}})\n"
        f"Daemon(Path({str(tmp_path)!r}), None, [], lambda: os.environ, {{}}, [spoke]).run(lambda: None)"
    )
    daemon = subprocess.Popen([sys.executable, "-c", program])
    pid = until(rig.starts, "it was not started")[0][1]
    known = mark(pid)
    daemon.kill()
    daemon.wait()
    assert wait_gone(known, 20)
