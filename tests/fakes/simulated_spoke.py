"""A spoke whose machine does nothing: real wire, real journal, and every job succeeds at once without a process.

spoke = SimulatedSpoke(enrolled_home(folder, hub, …), connection); spoke.start(); …; spoke.stop()
"""

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from config.limits import SpokeLimits
from spokes.agent.artifacts import ArtifactCourier
from spokes.agent.executor import JobExecutor, Parts
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.journal import Journal
from spokes.agent.kept_commands import KeptCommands
from spokes.agent.machine import Entry, JobRun, Machine, Program, Ran, Seen
from spokes.agent.mailbox import Mailbox
from spokes.agent.presence import Presence
from spokes.agent.quarantine import Quarantine
from spokes.agent.service import Post, SpokeService
from spokes.agent.sites import OneSite, Site
from spokes.agent.spool import Position
from spokes.agent.trust_store import TrustStore
from spokes.agent.uplink import Uplink
from spokes.polling import KIND
from tests.fakes.parties import FACTS
from tests.fakes.spoke_home import EnrolledHome
from wire.connection import Connection
from wire.session import SpokeIdentity, SpokeSession

_OUTCOME = json.dumps(
    {
        "format": 1,
        "state": "succeeded",
        "exit_code": 0,
        "message": "",
        "outputs": [],
        "artifacts": [],
        "survivors": [],
        "ended_processes": 0,
        "cancel_confirmed": None,
        "started_at": 1,
        "ended_at": 2,
        "spool": {"records": 0, "chain": bytes(32).hex(), "bytes": 0},
    }
).encode()


class NoopMachine:
    """The five verbs, none of which does anything; a run has ended when it is looked at."""

    home = "/nowhere"

    def run(self, what: Program | JobRun) -> Any:
        return Ran(0, b"") if isinstance(what, Program) else NoopWatch()

    def put(self, folder: str, files: Iterable[tuple[str, bytes]], *, durable: bool = True) -> None:
        return

    def list(self, folder: str, names: Sequence[str] | None = None, *, hashed: bool = False) -> dict[str, Entry]:
        return {}

    def concatenate(self, parts: Sequence[str], to: str, *, sha256: str, expand: bool = False) -> Entry:
        return Entry(0)

    def remove(self, paths: Iterable[str]) -> None:
        return


class NoopWatch:
    """Sees an outcome and no output."""

    position = Position()

    def read(self, limit: int, wait_s: float) -> Seen:
        return Seen(b"", self.position, _OUTCOME, lost=False)

    def go_back(self, position: Position) -> None:
        return

    def confirmed(self, position: Position) -> None:
        return

    def close(self) -> None:
        return


class SimulatedSpoke:
    """Everything that a daemon has but a machine, a package cache and runners; `machine` may do more than nothing."""

    def __init__(
        self,
        home: EnrolledHome,
        connection: Connection,
        limits: SpokeLimits | None = None,
        machine: Machine | None = None,
    ) -> None:
        limits = limits or SpokeLimits()
        place = SpokeHome(home.root)
        trust = TrustStore(place)
        enrolment = IdentityStore(place).enrolment()
        chain = trust.load(enrolment.root)
        identity = SpokeIdentity(home.spoke_id, enrolment.hub_id, home.keys.signing, (home.keys.box,))
        session = SpokeSession(identity, chain, chain.document.epoch, trust.load_box(chain, enrolment.hub_id))
        mailbox = Mailbox(connection, home.spoke_id)
        uplink = Uplink(mailbox, session)
        self.journal = Journal(place.journal)
        nothing: Any = _Nothing()
        courier = ArtifactCourier(nothing, open_file=nothing, hub_box=lambda: uplink.hub_box, give_up_s=1)
        commands = KeptCommands(self.journal, uplink)
        sites = OneSite(Site(machine or NoopMachine(), nothing, nothing, courier, nothing))
        executor = JobExecutor(sites, Parts(self.journal, commands, limits))
        presence = Presence(
            uplink,
            limits,
            facts=lambda: FACTS,
            jobs=lambda: executor.active,
            unanswered=lambda: None,
            home=place.root,
        )
        self._connection = connection
        self._service = SpokeService(
            mailbox,
            executor,
            Post(
                uplink=uplink,
                journal=self.journal,
                presence=presence,
                trust=nothing,
                quarantine=Quarantine(place.quarantine),
                commands=commands,
                ops=KIND.ops,
                rotation=nothing,
                witness=nothing,
                each_second=lambda: None,
            ),
        )
        self._thread = threading.Thread(target=self._service.run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._service.stop()
        self._thread.join(timeout=10)
        self._connection.close()
        self.journal.close()


class _Nothing:
    """Stands for runners, packages, gateway, trust and witness of a spoke that fetches nothing."""

    def check_installed(self) -> None:
        return

    def is_at_hand(self, *_: object) -> bool:
        return True

    def ensure(self, ref: Any, *_: object) -> str:
        return str(ref.sha256)

    def fetch(self, ref: Any, _: str) -> str:
        return f"/nowhere/{ref.sha256}"

    def welcomed(self) -> None:
        return

    def remember_box(self, _: bytes) -> None:
        return

    def shown(self, *_: object) -> None:
        return

    def catch_up_soon(self, _: object) -> None:
        return
