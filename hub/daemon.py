"""`manyarm up`: starts every part on this machine in order, watches them, starts again what died, stops all in reverse.

    broker node  →  engine  →  gateway and portal  →  house spokes

The master key is read once, by the caller; each part gets the key of its own class through a pipe (hub/child.py), a
spoke gets none. A part that says that it cannot work at all (a wrong key, a setting) ends the whole with its words; one
that dies is started again, sooner at first and later after each failure. A house spoke never ends the whole, and
nothing waits for it. The state file tells a second `up` what runs here.
"""

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from config.logging import LOG_FILE
from config.parent import LEASH_DESCRIPTOR
from hub import child
from hub.broker.errors import BrokerError
from hub.broker.node import PrivateNode
from hub.broker.process import ProcessMark, is_alive, mark, wait_gone
from wire.crash import crash_point

logger = logging.getLogger(__name__)

READY_WAIT_S = 60.0
STOP_WAIT_S = 10.0
WATCH_S = 0.2
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
STEADY_S = 30.0


class PartFailed(Exception):
    """A part cannot work at all; `status` is what the whole command should end with."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the hub: its name, its command, the key that it is handed, asked for at each start."""

    name: str
    argv: tuple[str, ...]
    key: Callable[[], bytes] = field(repr=False)

    @property
    def log(self) -> Path | None:
        return None


@dataclass(frozen=True, slots=True)
class HouseSpoke:
    """A spoke beside the hub: no key, and nothing of our environment but what is named here.

    `log` is where it writes what it does; None: beside the logs of the parts.
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path | None = None

    def seen(self) -> Mapping[str, str]:
        return self.environ


class Daemon:
    """Runs the private node, if there is one, and the parts, until it is told to stop.

    Args:
        home: Its `run/` has the state file and each part's log.
        node: None where an existing broker is used.
        parts: In the order of their start.
        environ: What the parts see, besides their descriptors; asked at each start, when the node's ports are known.
        addresses: What the state file tells others (`portal`, `gateway`).
        house: Spokes of our own, started when everything is ready.
    """

    def __init__(
        self,
        home: Path,
        node: PrivateNode | None,
        parts: Sequence[Part],
        environ: Callable[[], Mapping[str, str]],
        addresses: Mapping[str, str],
        house: Sequence[HouseSpoke] = (),
    ) -> None:
        self._run = home / "run"
        self._node = node
        self._parts = [_Running(part, self._run, environ) for part in parts]
        self._house = [_Running(spoke, self._run, spoke.seen) for spoke in house]
        self._addresses = dict(addresses)
        self._stopping = threading.Event()
        self._node_pause = _Pause()

    def run(self, ready: Callable[[], None]) -> None:
        """Start everything, call `ready`, watch until `stop`; always stops what it started.

        Raises:
            PartFailed: A part cannot work at all; everything has been stopped.
        """
        self._run.mkdir(parents=True, exist_ok=True, mode=0o700)
        end_leftovers(self._run.parent)
        try:
            self._start_all()
            if not self._stopping.is_set():
                ready()
                self._start_house()
            while not self._stopping.wait(WATCH_S):
                self._watch()
        finally:
            self._stop_all()

    def stop(self) -> None:
        """Ask `run` to end; safe from a signal handler."""
        self._stopping.set()

    def stop_on_signals(self) -> None:
        def leave(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, leave)

    def _start_all(self) -> None:
        self._remember()
        with _telling_broker_faults():
            if self._node is not None:
                self._node.start()
            # While the node boots, the parts load their programs; none goes on before it has its key.
            for part in self._parts:
                part.start()
            crash_point("up.started")
            self._remember()
            if self._node is not None:
                self._node.wait_ready(READY_WAIT_S)
        first, rest = self._parts[:1], self._parts[1:]
        for together in (first, rest):
            for part in together:
                part.give_key()
            for part in together:
                part.wait_ready(READY_WAIT_S, self._stopping)

    def _start_house(self) -> None:
        for spoke in self._house:
            spoke.start()
        self._remember()

    def _watch(self) -> None:
        if self._node is not None and not self._node.running and self._node_pause.over():
            logger.warning("broker node is gone and is started again")
            self._node_pause.begin()
            with contextlib.suppress(BrokerError):
                self._node.start()
        for part in (*self._parts, *self._house):
            if part.watch():
                self._remember()

    def _stop_all(self) -> None:
        for part in reversed((*self._parts, *self._house)):
            part.stop()
        if self._node is not None:
            self._node.stop()
        with contextlib.suppress(FileNotFoundError):
            state_file(self._run.parent).unlink()

    def _remember(self) -> None:
        state = {
            "daemon": asdict(mark(os.getpid())),
            "parts": {
                part.name: asdict(known) for part in (*self._parts, *self._house) if (known := part.known) is not None
            },
            **self._addresses,
        }
        file = state_file(self._run.parent)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(state, indent=1))
        new.replace(file)


@contextlib.contextmanager
def _telling_broker_faults() -> Iterator[None]:
    try:
        yield
    except BrokerError as error:
        raise PartFailed(str(error)) from error


def state_file(home: Path) -> Path:
    return home / "run" / "state.json"


def running_state(home: Path) -> dict[str, object] | None:
    """What the state file says, if the daemon that wrote it still runs."""
    state = _state(home)
    if state is None or not is_alive(_mark_in(state["daemon"])):
        return None
    return state


def end_leftovers(home: Path) -> None:
    """Parts of a killed daemon leave by themselves; the few that do not in time are ended, never a stranger."""
    state = _state(home)
    parts = state.get("parts") if state else None
    for known in [_mark_in(part) for part in parts.values()] if isinstance(parts, dict) else []:
        if not wait_gone(known, STOP_WAIT_S):
            _kill(known)


def _kill(part: ProcessMark) -> None:
    """End a part with all that it started: workers hold its port as well."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        workers = [mark(worker.pid) for worker in psutil.Process(part.pid).children(recursive=True)]
        os.killpg(part.pid, signal.SIGKILL)
        for one in (part, *workers):
            wait_gone(one, STOP_WAIT_S)


def _state(home: Path) -> dict[str, object] | None:
    try:
        state = json.loads(state_file(home).read_text())
        return state if isinstance(state, dict) else None
    except (FileNotFoundError, ValueError):
        return None


def _mark_in(value: object) -> ProcessMark:
    fields = value if isinstance(value, dict) else {}
    return ProcessMark(int(fields.get("pid", 0)), str(fields.get("start_time")), str(fields.get("boot_id")))


class _Pause:
    """How long to wait before the next start: doubled by each failure, forgotten after a steady time."""

    def __init__(self) -> None:
        self._length_s = FIRST_PAUSE_S
        self._started_at = 0.0
        self._until = 0.0

    def over(self) -> bool:
        return time.monotonic() >= self._until

    def begin(self) -> None:
        now = time.monotonic()
        steady = now - self._started_at > STEADY_S
        self._length_s = FIRST_PAUSE_S if steady else min(self._length_s * 2, LONGEST_PAUSE_S)
        self._started_at = now
        self._until = now + self._length_s


class _Running:
    """One part: its process, its key pipe, what it said of being ready."""

    def __init__(self, part: Part | HouseSpoke, run: Path, environ: Callable[[], Mapping[str, str]]) -> None:
        self.name = part.name
        self._part = part
        self._log = part.log or run / f"{part.name}.log"
        self._words = run / f"{part.name}.err"
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._leash = -1
        self._ready = -1
        self._heard = b""
        self._said_ready = False
        self._pause = _Pause()
        self.known: ProcessMark | None = None

    def start(self) -> None:
        key_read, key_write = os.pipe()
        ready_read, ready_write = os.pipe()
        leash = child.KEY_DESCRIPTOR if isinstance(self._part, Part) else LEASH_DESCRIPTOR
        environ = {
            **self._environ(),
            leash: str(key_read),
            child.READY_DESCRIPTOR: str(ready_write),
            LOG_FILE: str(self._log),
        }
        # The part writes its own log and turns it over by size; here lands only what it says outside of it.
        with self._words.open("wb") as log:
            self._process = subprocess.Popen(
                self._part.argv,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(key_read, ready_write),
                start_new_session=True,
            )
        os.close(key_read)
        os.close(ready_write)
        self._leash, self._ready, self._heard, self._said_ready = key_write, ready_read, b"", False
        self.known = mark(self._process.pid)
        self._pause.begin()
        logger.info("part started", extra={"part": self.name, "pid": self._process.pid})

    def give_key(self) -> None:
        """Let it go on; a part that has died meanwhile shows that to `wait_ready`. A spoke has none to get."""
        if isinstance(self._part, Part):
            with contextlib.suppress(BrokenPipeError):
                os.write(self._leash, self._part.key())

    def wait_ready(self, timeout_s: float, stopping: threading.Event) -> None:
        """Return when it is ready, or when the daemon is told to stop.

        Raises:
            PartFailed: It cannot work at all, or time is up.
        """
        deadline = time.monotonic() + timeout_s
        while self._ready >= 0 and not stopping.is_set():
            self._listen(0.1)
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} was not ready in {timeout_s:g} s; it said: {self._last_words()}")
        if not stopping.is_set() and not self._said_ready:
            raise PartFailed(f"{self.name} died at start; it said: {self._last_words()}", self._end())

    def _end(self) -> int:
        """With which status it ended; its pipe closes a moment before it does."""
        assert self._process is not None
        try:
            status = self._process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            return 1
        return status if status > 0 else 1

    def watch(self) -> bool:
        """Start it again if it has died and its pause is over; whether it was started."""
        if self._process is None:
            return False
        if self._ready >= 0:
            try:
                self._listen(0)
            except PartFailed as error:
                # It could work before. What it says may pass, such as a port that its own last worker still holds.
                logger.error("part cannot work yet", extra={"part": self.name, "reason": str(error)})  # noqa: TRY400
        if self._process.poll() is None or not self._pause.over():
            return False
        logger.warning("part died and is started again", extra={"part": self.name, "status": self._process.returncode})
        self._let_go()
        self.start()
        self.give_key()
        return True

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                logger.warning("part did not leave in time and is killed", extra={"part": self.name})
                self._process.kill()
                self._process.wait()
        self._let_go()
        self._process = None

    def _listen(self, wait_s: float) -> None:
        readable, _, _ = select.select([self._ready], [], [], wait_s)
        if not readable:
            return
        heard = os.read(self._ready, 65_536)
        self._heard += heard
        if heard and not self._heard.endswith(b"\n"):
            return
        os.close(self._ready)
        self._ready = -1
        words = json.loads(self._heard) if self._heard else {}
        if words.get("ready") is False:
            raise PartFailed(str(words["why"]), int(words["status"]))
        self._said_ready = bool(words)

    def _last_words(self) -> str:
        for file in (self._words, self._log):
            with contextlib.suppress(FileNotFoundError):
                lines = file.read_text(errors="replace").strip().splitlines()
                if lines:
                    return " / ".join(lines[-3:])
        return "nothing"

    def _let_go(self) -> None:
        for descriptor in (self._leash, self._ready):
            if descriptor >= 0:
                os.close(descriptor)
        self._leash = self._ready = -1
