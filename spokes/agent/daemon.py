"""Puts one spoke together over whatever connection brings its mail, and runs it."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from config.settings import SpokeSettings
from spokes.agent.artifacts import ArtifactCourier
from spokes.agent.executor import JobExecutor, Parts
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.housekeeping import Housekeeping
from spokes.agent.identity import IdentityStore
from spokes.agent.journal import Journal, State
from spokes.agent.kind import SpokeKind
from spokes.agent.mailbox import Mailbox
from spokes.agent.package_cache import PackageCache
from spokes.agent.platform_facts import software, this_platform
from spokes.agent.presence import Presence
from spokes.agent.quarantine import Quarantine
from spokes.agent.runners import Runners
from spokes.agent.service import Post, SpokeService
from spokes.agent.supervisors import Supervisors
from spokes.agent.this_machine import ThisMachine
from spokes.agent.trust_keeper import TrustKeeper
from spokes.agent.trust_store import TrustStore
from spokes.agent.uplink import Uplink
from wire.connection import Connection
from wire.messages import JobReport, JobState
from wire.session import SpokeFacts, SpokeIdentity, SpokeSession

logger = logging.getLogger(__name__)

_REPORTS = 500


class SpokeDaemon:
    """Everything of one spoke that acts on the machine it stands on.

    Args:
        connection: Brings its mail; closed with the daemon.
        kind: Which commands it takes.
        state: What the status file says of the connection.
    """

    def __init__(
        self,
        settings: SpokeSettings,
        connection: Connection,
        kind: SpokeKind,
        *,
        state: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._settings = settings
        self._home = SpokeHome(settings.home)
        self._home.make()
        self._lock = self._home.hold()
        self._home.remove_leftovers()
        self._connection = connection
        self._connection_state = state
        self._journal = Journal(self._home.journal)
        self._quarantine = Quarantine(self._home.quarantine)
        self._meet_the_hub()
        self._prepare_the_machine()
        self.service = SpokeService(self._mailbox, self.executor, self._post(kind))

    def run(self) -> None:
        """Serve until `stop`; runs that are under way outlive this."""
        newest = self._runners.newest()
        if newest:
            self._supervisors.prepare(self._home.root / "runners" / newest)
        self.service.run()

    def stop(self) -> None:
        self.service.stop()

    def close(self) -> None:
        self._supervisors.close()
        self._connection.close()
        self._journal.close()
        self._lock.release()

    def _meet_the_hub(self) -> None:
        limits = self._settings.limits
        identities, trust = IdentityStore(self._home), TrustStore(self._home)
        enrolment, keys = identities.enrolment(), identities.keys()
        chain = trust.load(enrolment.root)
        hub_box = trust.load_box(chain, enrolment.hub_id)
        self._boxes = (keys.box,)
        identity = SpokeIdentity(enrolment.spoke_id, enrolment.hub_id, keys.signing, self._boxes)
        self._mailbox = Mailbox(self._connection, enrolment.spoke_id)
        self.uplink = Uplink(self._mailbox, SpokeSession(identity, chain, chain.document.epoch, hub_box))
        self._gateway = Gateway(enrolment.gateway, timeout_s=limits.gateway_timeout_s, proxy=self._settings.https_proxy)
        self._gateway.pin(chain.document.pins("gateway"))
        self._trust = TrustKeeper(trust, self._gateway)

    def _prepare_the_machine(self) -> None:
        home, limits = self._home, self._settings.limits
        python = self._settings.runner_python or sys.executable
        self._supervisors = Supervisors(home, python, standby=self._settings.standby)
        self._machine = ThisMachine(home, self._supervisors)
        self._packages = PackageCache(
            self._machine,
            self._gateway,
            limits,
            free_bytes=lambda: shutil.disk_usage(home.root).free,
            index=home.root / "unpacked.json",
        )
        self._runners = Runners(self._machine, self._packages, record=home.root / "runners.json", python=python)
        courier = ArtifactCourier(
            self._gateway,
            open_file=lambda path: _open_inside(home.root, path),
            hub_box=lambda: self.uplink.hub_box,
            give_up_s=limits.transfer_s,
        )
        self.executor = JobExecutor(self._machine, Parts(self._journal, self._packages, self._runners, courier, limits))

    def _post(self, kind: SpokeKind) -> Post:
        limits = self._settings.limits
        presence = Presence(
            self.uplink,
            limits,
            facts=lambda: SpokeFacts(self._runners.newest_release, software(), this_platform(), self._reports()),
            jobs=lambda: self.executor.active,
            unanswered=lambda: self._trust.refresh(self.uplink),
            home=self._home.root,
        )
        housekeeping = Housekeeping(
            self._home,
            self._machine,
            self._journal,
            self._packages,
            self._runners,
            self.executor,
            limits,
            state=self._state,
        )
        return Post(
            uplink=self.uplink,
            journal=self._journal,
            presence=presence,
            trust=self._trust,
            quarantine=self._quarantine,
            boxes=self._boxes,
            ops=kind.ops,
            each_second=housekeeping,
        )

    def _state(self) -> dict[str, Any]:
        return {
            **self._connection_state(),
            "session": self.uplink.nonce,
            "trust_version": self.uplink.trust.version,
            "trust_behind": self._trust.behind,
            "clock_skew_s": self.uplink.clock_skew_s,
            "refused": self._quarantine.counts,
        }

    def _reports(self) -> tuple[JobReport, ...]:
        """What the journal knows of jobs that the hub may still wait for, newest first."""
        return tuple(JobReport(entry.cid, _shown_state(entry.state)) for entry in self._journal.unreported(_REPORTS))


def _shown_state(state: State) -> JobState:
    if state.ended:
        return JobState.ENDED
    return JobState.ACCEPTED if state is State.ACCEPTED else JobState.RUNNING


def _open_inside(home: Path, path: str) -> BinaryIO:
    """A plain file in the home; the last part is not followed if it is a link."""
    return os.fdopen(os.open(home / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
