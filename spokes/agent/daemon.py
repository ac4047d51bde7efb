"""Puts one spoke together over whatever connection brings its mail, and runs it."""

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from config.settings import SpokeSettings
from spokes.agent.executor import JobExecutor, Parts
from spokes.agent.gateway import Gateway, GatewayDoor
from spokes.agent.home import SpokeHome
from spokes.agent.housekeeping import Housekeeping
from spokes.agent.identity import IdentityStore
from spokes.agent.journal import Journal, State
from spokes.agent.kept_commands import KeptCommands
from spokes.agent.key_rotation import KeyRotation
from spokes.agent.kind import Deeds, SpokeKind
from spokes.agent.mailbox import Mailbox
from spokes.agent.platform_facts import software, this_platform
from spokes.agent.presence import Presence
from spokes.agent.quarantine import Quarantine
from spokes.agent.resending import LogResender
from spokes.agent.runner_python import said_of
from spokes.agent.service import Post, SpokeService
from spokes.agent.sites import Sites
from spokes.agent.this_site import Ground, ThisSite
from spokes.agent.trust_keeper import TrustKeeper
from spokes.agent.trust_store import TrustStore
from spokes.agent.uplink import Uplink
from spokes.agent.witness import Witness
from wire.connection import Connection
from wire.messages import JobReport, JobState, Op
from wire.session import SpokeFacts, SpokeIdentity, SpokeSession

logger = logging.getLogger(__name__)

_REPORTS = 500
_SWITCH_S = 0.0005


class SpokeDaemon:
    """Everything of one spoke.

    Args:
        connection: Brings its mail; closed with the daemon.
        kind: Which commands it takes.
        sites: Makes the machines that it acts on; the one it stands on unless told otherwise.
        deeds: Commands of its kind that need no run, given those machines.
        gateway: The way to the gateway, where it is not HTTPS from here.
        state: What the status file says of the connection.
    """

    def __init__(
        self,
        settings: SpokeSettings,
        connection: Connection,
        kind: SpokeKind,
        *,
        sites: Callable[[Ground], Sites] = ThisSite,
        deeds: Callable[[Sites], Deeds] = lambda _: {},
        gateway: GatewayDoor | None = None,
        state: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._settings = settings
        self._home = SpokeHome(settings.home)
        self._home.make()
        self._lock = self._home.hold()
        self._home.remove_leftovers()
        self._connection = connection
        self._connection_state = state
        self._quarantine = Quarantine(self._home.quarantine)
        self._meet_the_hub(gateway)
        self.sites = sites(Ground(self._home, settings, self._gateway, lambda: self.uplink.hub_box))
        self._witness = Witness(self._home.root)
        self._journal = Journal(self._home.journal, keeps_commands=self.sites.keeps_commands)
        self._commands = KeptCommands(self._journal, self.uplink)
        self.executor = JobExecutor(self.sites, Parts(self._journal, self._commands, settings.limits))
        self.service = SpokeService(self._mailbox, self.executor, self._post(kind, deeds(self.sites)))

    def run(self) -> None:
        """Serve until `stop`; runs that are under way outlive this."""
        # What has been imported stays, and a thread that gave way does not wait Python's usual 5 ms for its turn.
        gc.freeze()
        sys.setswitchinterval(_SWITCH_S)
        self.sites.begin()
        self.service.run()

    def stop(self) -> None:
        self.service.stop()

    def offer_trust(self, frames: Sequence[bytes]) -> None:
        """Newer trust documents, whoever has brought them; raises as `TrustKeeper.offered`."""
        self._trust.offered(self.uplink, frames)

    def close(self) -> None:
        self.sites.close()
        self._connection.close()
        self._journal.close()
        self._lock.release()

    def _meet_the_hub(self, gateway: GatewayDoor | None) -> None:
        limits = self._settings.limits
        identities, trust = IdentityStore(self._home), TrustStore(self._home)
        enrolment, keys = identities.enrolment(), identities.keys()
        chain = trust.load(enrolment.root)
        hub_box = trust.load_box(chain, enrolment.hub_id)
        boxes = (keys.box, *(box for box in identities.former_boxes().values() if box.kid != keys.box.kid))
        identity = SpokeIdentity(enrolment.spoke_id, enrolment.hub_id, keys.signing, boxes)
        self._mailbox = Mailbox(self._connection, enrolment.spoke_id)
        self.uplink = Uplink(self._mailbox, SpokeSession(identity, chain, chain.document.epoch, hub_box))
        self._gateway = gateway or Gateway(
            enrolment.gateway, timeout_s=limits.gateway_timeout_s, proxy=self._settings.https_proxy
        )
        self._gateway.believe(chain.document)
        self._trust = TrustKeeper(trust, self._gateway)

    def _facts(self) -> SpokeFacts:
        platform = this_platform(said_of(self._settings.runner_python))
        return SpokeFacts(self.sites.newest_release, software(), platform, self._reports())

    def _post(self, kind: SpokeKind, deeds: Deeds) -> Post:
        limits = self._settings.limits
        presence = Presence(
            self.uplink,
            limits,
            facts=self._facts,
            jobs=lambda: self.executor.active,
            unanswered=self._unanswered,
            home=self._home.root,
        )
        self._rotation = KeyRotation(
            IdentityStore(self._home),
            self.uplink,
            self._commands,
            ask_anew=presence.ask_anew,
            replaces_signing=kind.replaces_signing,
        )
        self._trust.when_updated(presence.ask_anew)
        housekeeping = Housekeeping(
            self._home,
            self.sites,
            self._journal,
            self.executor,
            limits,
            state=self._state,
        )

        def each_second() -> None:
            housekeeping()
            self._rotation.each_second()

        return Post(
            uplink=self.uplink,
            journal=self._journal,
            presence=presence,
            trust=self._trust,
            quarantine=self._quarantine,
            commands=self._commands,
            ops=kind.ops | {Op.ROTATE_KEYS, Op.SEND_LOG},
            rotation=self._rotation,
            witness=self._witness,
            each_second=each_second,
            deeds={**deeds, Op.SEND_LOG: LogResender(self.uplink, self.sites, limits)},
        )

    def _unanswered(self) -> None:
        """The hub may have changed keys while we were away, or does not know our next one."""
        self._rotation.unanswered()
        self._trust.refresh(self.uplink)

    def _state(self) -> dict[str, Any]:
        return {
            **self._connection_state(),
            "session": self.uplink.nonce,
            "trust_version": self.uplink.trust.version,
            "trust_behind": self._trust.behind,
            "audit": self._witness.seen,
            "audit_alarm": self._witness.alarm,
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
