"""A process full of light spokes: `python -m tests.chaos.light FOLDER WITNESS BYTES` serves every enrolled home in FOLDER.

Real are the broker connections, sessions, envelopes and journals. The machine runs nothing; it writes the witness's
lines and a spool, takes a moment, listens to a cancel, and finds its runs again after a kill by what the witness says.
"""

import hashlib
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from config.logging import set_up
from runner.contract.spool import CHAIN_START, Kind, Stream, encode_record
from spokes.agent.enrolment import Enroller, Wish
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.job_folder import CANCEL
from spokes.agent.machine import JobRun, Program, Ran, Seen
from spokes.agent.serving import broker_connection
from spokes.agent.spool import Position, after_whole_records
from tests.chaos.evidence import Spool
from tests.chaos.witness import Witness, printed_by
from tests.fakes.simulated_spoke import NoopMachine, SimulatedSpoke
from tests.fakes.spoke_home import EnrolledHome
from wire.join_code import JoinCode

_TIMEOUT_S = 60.0
_AT_ONCE = 4
_LONGEST_S = 2.0
_AT = 1_700_000_000_000


def enrol(folder: Path, codes: Iterable[tuple[str, str]]) -> None:
    """A home for each name and join code, over the gateway, as `manyarm-spoke enrol` does."""

    def join(name: str, text: str) -> None:
        code = JoinCode.parse(text)
        home = SpokeHome(folder / name)
        home.make()
        gateway = Gateway(code.address, timeout_s=_TIMEOUT_S)
        Enroller(home, gateway, say=lambda _: None).enrol(code, Wish(name), gateway=code.address, wait_s=_TIMEOUT_S)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda one: join(*one), codes))


def spool_of(job: str, more_bytes: int = 0) -> tuple[bytes, Spool]:
    """What a light machine prints for a job: always the same bytes, and more of them where that is wanted."""
    chain, data = CHAIN_START, b""
    lines = [
        *printed_by(job),
        *(hashlib.sha256(f"{job}{at}".encode()).hexdigest() * 100 for at in range(0, more_bytes, 6_400)),
    ]
    for number, line in enumerate(lines):
        record, chain = encode_record(number, Kind.TEXT, _AT, Stream.STDOUT, line.encode() + b"\n", chain=chain)
        data += record
    return data, Spool(len(lines), chain.hex())


class LightMachine(NoopMachine):
    """Runs nothing, and says that it did."""

    def __init__(self, witness: Witness, more_bytes: int = 0) -> None:
        self._witness = witness
        self.more_bytes = more_bytes
        self._before = witness.seen()
        self.cancelled: set[str] = set()

    def run(self, what: Program | JobRun) -> Any:
        if isinstance(what, Program):
            return Ran(0, b"")
        if what.line is not None:
            self._witness.say("start", what.cid)
            return LightRun(self, self._witness, what.cid)
        said = self._before.get(what.cid, Counter())
        if said["cancel"] and not said["end"]:
            self.cancelled.add(what.cid)
        return LightRun(self, self._witness, what.cid, began=bool(said["start"]), ended=bool(said["end"]))

    def put(self, folder: str, files: Iterable[tuple[str, bytes]], *, durable: bool = True) -> None:
        if any(name == CANCEL for name, _ in files):
            job = folder.rpartition("/")[2]
            # Where a real folder keeps the file.
            self._witness.say("cancel", job)
            self.cancelled.add(job)


class LightRun:
    """One run; used by one thread."""

    def __init__(
        self, machine: LightMachine, witness: Witness, job: str, *, began: bool = True, ended: bool = False
    ) -> None:
        self.position = Position()
        self._machine = machine
        self._witness = witness
        self._job = job
        self._began = began
        self._data, self._spool = spool_of(job, machine.more_bytes)
        # By the job alone, so that a seed means the same each time.
        share = hashlib.sha256(job.encode()).digest()[0] / 255
        self._due = time.monotonic() + (0 if ended else _LONGEST_S * share)
        self._outcome = _outcome("succeeded", self._spool) if ended else None

    def read(self, limit: int, wait_s: float) -> Seen:
        if not self._began:
            return Seen(b"", self.position, None, lost=True)
        after = after_whole_records(self._data[self.position.offset :], self.position, limit)
        data = self._data[self.position.offset : after.offset]
        self.position = after
        if not data:
            time.sleep(max(0.0, min(wait_s, self._due - time.monotonic())))
        return Seen(data, after, self._end(), lost=False)

    def _end(self) -> bytes | None:
        if self._outcome is None and self._job in self._machine.cancelled:
            self._outcome = _outcome("cancelled", self._spool)
        if self._outcome is None and time.monotonic() >= self._due:
            self._witness.say("end", self._job)
            self._outcome = _outcome("succeeded", self._spool)
        return self._outcome

    def go_back(self, position: Position) -> None:
        self.position = position

    def confirmed(self, position: Position) -> None:
        return

    def close(self) -> None:
        return


def _outcome(state: str, spool: Spool) -> bytes:
    cancelled = state == "cancelled"
    return json.dumps(
        {
            "format": 1,
            "state": state,
            "exit_code": None if cancelled else 0,
            "message": "cancelled" if cancelled else "",
            "outputs": [],
            "artifacts": [],
            "survivors": [],
            "ended_processes": int(cancelled),
            "cancel_confirmed": True if cancelled else None,
            "started_at": _AT,
            "ended_at": _AT + 1,
            "spool": {"records": spool.records, "chain": spool.chain, "bytes": 0},
        }
    ).encode()


def serve(folder: Path, witness: Witness, more_bytes: int) -> None:
    """Serve until TERM."""
    set_up("INFO", "text", "spoke")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spokes = [_spoke(path, LightMachine(witness, more_bytes)) for path in sorted(folder.iterdir())]
    for spoke in spokes:
        spoke.start()
    stop.wait()
    for spoke in spokes:
        spoke.stop()


def _spoke(path: Path, machine: LightMachine) -> SimulatedSpoke:
    store = IdentityStore(SpokeHome(path))
    enrolment = store.enrolment()
    home = EnrolledHome(path, enrolment.spoke_id, store.keys())
    return SimulatedSpoke(home, broker_connection(enrolment), machine=machine)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Witness(Path(sys.argv[2])), int(sys.argv[3]))
