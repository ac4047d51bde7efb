"""A process full of simulated spokes for bench 2: `python -m bench.simulated FOLDER` serves every enrolled home in it.

Real are the broker connections, sessions, envelopes and journals; only the machine does nothing (tests/fakes).
"""

import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.stage import Stage
from config.logging import set_up
from spokes.agent.enrolment import Enroller, Wish
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.serving import broker_connection
from tests.fakes.simulated_spoke import SimulatedSpoke
from tests.fakes.spoke_home import EnrolledHome
from wire.join_code import JoinCode

_TIMEOUT_S = 60.0
_AT_ONCE = 8


def enrol_all(stage: Stage, folder: Path, names: Sequence[str]) -> None:
    """Enrol a home for each name, over the gateway, as `manyarm-spoke enrol` does."""
    codes = [stage.api.post("/join-codes", {"roles": ["bench"], "approve": "auto"})["code"] for _ in names]

    def enrol(name: str, text: str) -> None:
        code = JoinCode.parse(text)
        home = SpokeHome(folder / name)
        home.make()
        gateway = Gateway(code.address, timeout_s=_TIMEOUT_S)
        Enroller(home, gateway, say=lambda _: None).enrol(code, Wish(name), gateway=code.address, wait_s=_TIMEOUT_S)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(enrol, names, codes))


def serve(folder: Path) -> None:
    """Serve until TERM."""
    set_up("WARNING", "text", "spoke")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spokes = [_spoke(path) for path in sorted(folder.iterdir())]
    for spoke in spokes:
        spoke.start()
    stop.wait()
    for spoke in spokes:
        spoke.stop()


def _spoke(path: Path) -> SimulatedSpoke:
    store = IdentityStore(SpokeHome(path))
    enrolment = store.enrolment()
    return SimulatedSpoke(EnrolledHome(path, enrolment.spoke_id, store.keys()), broker_connection(enrolment))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
