"""Carries out what approval and revocation have decided, after their commit, again and again until it is done.

    approved:  broker user and mailbox > ENROLLED frame, where the gateway finds it
    revoked:   (trust ended with the commit) > connections and broker user > mailbox > its running jobs fail as revoked

Everything here may be repeated; with the broker away it waits, and nothing else does.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hub.broker.errors import BrokerError
from hub.infrastructure.spokes import broker_password, forget_at_broker, tenant_of
from hub.states import EnrolmentState, SpokeKind, SpokeState
from hub.storage.database import connection, write_tx
from hub.storage.models import Enrolment, Introduction, Spoke
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.crash import crash_point
from wire.envelope import MessageType
from wire.exchange import seal_to_spoke
from wire.keys import BoxPublicKey, SigningKey, hex_bytes
from wire.messages import BrokerAccess, Enrolled
from wire.topology import VHOST, Tenant, listening_tenant

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
# The spoke judges it by the frame it answers, not by this: a machine may sleep before it asks.
_ENROLLED_TTL_S = 86_400
# A listening spoke has no account: its relay brings and takes its messages.
_NO_ACCESS = BrokerAccess("", "", "", "", "")


class Accounts(Protocol):
    """What is needed of hub/broker/admin.py."""

    def ensure_tenant(self, tenant: Tenant, password: str) -> None: ...
    def remove_tenant(self, tenant: Tenant) -> None: ...


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What an enrolled spoke is told: where the hub is, and what it believes at present."""

    hub_id: str
    epoch: int
    trust_version: int
    broker_url: str
    broker_spki: str
    gateway: str


@dataclass(frozen=True, slots=True)
class RolloutParts:
    """What rollout needs of the engine.

    Attributes:
        where: Asked each time: the trust version moves on.
        beside: The same as seen from this machine, for a spoke that stands here; None for any other.
        command_key: hub-command.
        fail_jobs: Ends the spoke's open jobs as revoked.
        welcome: Told once a spoke is trusted and has its mailbox.
        deliver: Puts a frame into the mailbox of a spoke.
    """

    vault: Vault
    seals: RowSeals
    accounts: Accounts
    command_key: Callable[[], SigningKey]
    where: Callable[[], Whereabouts]
    fail_jobs: Callable[[str], None]
    welcome: Callable[[str], None]
    deliver: Callable[[str, bytes], None]
    clock_ms: Callable[[], int]
    beside: Callable[[Spoke], Whereabouts | None] = lambda _: None


class Rollout:
    """One thread calls `sweep`."""

    def __init__(self, parts: RolloutParts, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._pause_s = _FIRST_PAUSE_S
        self._not_before = 0.0
        self._expected: set[str] = set()

    def sweep(self) -> int:
        """Do what is due; how many spokes that were. Quiet for a while after the broker could not be reached."""
        if self._clock() < self._not_before:
            return 0
        with connection():
            try:
                done = sum(1 for row in self._revoked() if self._remove(row))
                done += sum(1 for row in list(Introduction.select()) if self._expect(row))
                done += sum(1 for row in self._approved() if self._answer(row))
            except BrokerError as error:
                self._not_before = self._clock() + self._pause_s
                self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
                logger.warning("broker accounts wait", extra={"reason": str(error), "next_try_s": self._pause_s})
                return 0
        self._pause_s = _FIRST_PAUSE_S
        return done

    @staticmethod
    def _revoked() -> list[Spoke]:
        return list(Spoke.select().where(Spoke.state == SpokeState.REVOKED, Spoke.at_broker))

    @staticmethod
    def _approved() -> list[Enrolment]:
        return list(
            Enrolment.select()
            .join(Spoke, on=Enrolment.spoke == Spoke.id)
            .where(Enrolment.state == EnrolmentState.WAITING, Spoke.state == SpokeState.TRUSTED)
        )

    def _expect(self, row: Introduction) -> bool:
        """A mailbox before anybody is there: what lets it in comes down to it."""
        tenant = listening_tenant(row.id, row.fleet)
        if row.target is None:
            self._parts.accounts.remove_tenant(tenant)
            self._expected.discard(row.id)
            with write_tx():
                row.delete_instance()
            return True
        if row.id in self._expected:
            return False
        self._parts.accounts.ensure_tenant(tenant, "")
        self._expected.add(row.id)
        return True

    def _remove(self, row: Spoke) -> bool:
        self._parts.accounts.remove_tenant(tenant_of(row))
        self._parts.fail_jobs(row.id)
        with write_tx():
            forget_at_broker(self._parts.seals, Spoke.get_by_id(row.id))
        logger.info("spoke removed", extra={"spoke": row.id})
        return True

    def _answer(self, enrolment: Enrolment) -> bool:
        spoke: Spoke = Spoke.get_by_id(enrolment.spoke)
        if not self._parts.seals.holds(spoke):
            logger.error("spoke row was altered; it gets no account", extra={"spoke": spoke.id})
            return False
        password = broker_password(self._parts.vault, spoke)
        self._parts.accounts.ensure_tenant(tenant_of(spoke), password)
        crash_point("rollout.account-made")
        answer = self._enrolled(spoke, enrolment.id, password)
        with write_tx():
            # Revoked while its account was made: then no answer, and the next sweep takes the account away.
            still = Spoke.select().where(Spoke.id == spoke.id, Spoke.state == SpokeState.TRUSTED).exists()
            if not still:
                return False
            Enrolment.update(state=EnrolmentState.ANSWERED, answer=answer).where(Enrolment.id == enrolment.id).execute()
        crash_point("rollout.answered")
        self._parts.welcome(spoke.id)
        if spoke.kind == SpokeKind.LISTENING and spoke.join_token is None:
            # It was introduced by its thumbprint and asks by its relay alone: that is how it is answered.
            self._parts.deliver(spoke.id, answer)
        return True

    def _enrolled(self, spoke: Spoke, enrol_sha256: str, password: str) -> bytes:
        where = self._parts.beside(spoke) or self._parts.where()
        access = _NO_ACCESS
        if spoke.broker_user:
            access = BrokerAccess(where.broker_url, spoke.broker_user, password, VHOST, where.broker_spki)
        body = Enrolled(spoke.id, enrol_sha256, where.trust_version, access, where.gateway, where.hub_id)
        return seal_to_spoke(
            MessageType.ENROLLED,
            body,
            signer=self._parts.command_key(),
            spoke_box=BoxPublicKey.of(hex_bytes(spoke.box_pk, 32)),
            hub_id=where.hub_id,
            spoke_id=spoke.id,
            ses="",
            seq=0,
            epoch=where.epoch,
            now_s=self._parts.clock_ms() // 1_000,
            ttl_s=_ENROLLED_TTL_S,
        ).frame
