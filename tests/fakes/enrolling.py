"""Enrolment without processes: machines that make real frames, and the engine that takes them from the inbox."""

import json
import secrets
from dataclasses import dataclass, field

from hub.broker.errors import AdminUnreachable
from hub.infrastructure.enrolment import EnrolmentParts, Enrolments
from hub.infrastructure.join_codes import CreatedJoinCode, JoinCodeRequest, create_join_code
from hub.infrastructure.rollout import Rollout, RolloutParts, Whereabouts
from hub.states import InboxKind
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import installation
from hub.storage.models import Event, GatewayInbox
from tests.fakes.installed_hub import InstalledHub
from wire.exchange import Sealed, open_enrolled, seal_enrol
from wire.join_code import JoinCode
from wire.keys import BoxKey, SigningKey
from wire.messages import Enrol, Enrolled, Platform
from wire.roles import Role
from wire.topology import Tenant

ADDRESS = "hub.example:8443"


@dataclass
class Accounts:
    """What the broker was told, in order; away for as many calls as it says."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    away: int = 0

    def ensure_tenant(self, tenant: Tenant, password: str) -> None:
        assert bool(password) == bool(tenant.user)
        self._answer("ensure", tenant.spoke_id)

    def remove_tenant(self, tenant: Tenant) -> None:
        self._answer("remove", tenant.spoke_id)

    def _answer(self, verb: str, spoke_id: str) -> None:
        if self.away:
            self.away -= 1
            raise AdminUnreachable("the broker's HTTP API does not answer")
        self.calls.append((verb, spoke_id))


class Machine:
    """A machine with fresh keys."""

    def __init__(self, hub: InstalledHub, name: str = "web-1", kind: str = "polling") -> None:
        self.hub = hub
        self.name = name
        self.kind = kind
        self.address = f"{name}.example:10933" if kind == "listening" else ""
        self.tls_spki = secrets.token_hex(32) if kind in {"listening", "relay"} else ""
        self.signing = SigningKey.generate()
        self.box = BoxKey.generate()

    def frame(self, code: CreatedJoinCode, *, hub_id: str = "", trust_sha256: str = "", **changes) -> Sealed:
        """Its enrolment, to this hub unless another is named; `changes` go into the body."""
        joined = JoinCode.parse(code.code.reveal())
        said = {
            "token_id": joined.token_id.hex(),
            "token_secret": joined.token_secret.hex(),
            "box_pk": self.box.public.pk.hex(),
            "tls_spki": self.tls_spki,
            "nonce": secrets.token_hex(16),
            "platform": Platform("Linux", "x86_64", "6.1", "3.11.7", self.name),
            "requested_name": self.name,
            "kind": self.kind,
            "address": self.address,
            "roles": (),
            "environments": (),
        }
        return seal_enrol(
            Enrol(**(said | changes)),
            signer=self.signing,
            hub_box=self.hub.boxes[0].public,
            hub_id=hub_id or self.hub.hub_id,
            trust_sha256=trust_sha256 or self.hub.trust.sha256,
            epoch=1,
            now_s=self.hub.acting().now_ms // 1_000,
        )

    def opened(self, answer: bytes, frame: Sealed) -> Enrolled:
        """What the hub's answer tells it, after all of a spoke's checks."""
        return open_enrolled(answer, self.hub.trust, [self.box], enrol_sha256=frame.sha256)[1]


class EnrollingHub:
    """The engine's two loops, run by hand."""

    def __init__(self, hub: InstalledHub) -> None:
        self.hub = hub
        self.now_ms = hub.acting().now_ms
        self.accounts = Accounts()
        self.failed_jobs: list[str] = []
        self.welcomed: list[str] = []
        self.delivered: list[tuple[str, bytes]] = []
        self.seconds = 0.0
        self.enrolments = Enrolments(
            EnrolmentParts(hub.engine, hub.seals, lambda: hub.boxes, hub.hub_id, lambda: self.now_ms)
        )
        self.rollout = Rollout(
            RolloutParts(
                vault=hub.engine,
                seals=hub.seals,
                accounts=self.accounts,
                command_key=lambda: signing_key(hub.engine, Role.HUB_COMMAND),
                where=lambda: Whereabouts(hub.hub_id, 1, 1, "amqp://broker.example:5673", "", ADDRESS),
                fail_jobs=self.failed_jobs.append,
                welcome=self.welcomed.append,
                deliver=lambda spoke, frame: self.delivered.append((spoke, frame)),
                clock_ms=lambda: self.now_ms,
            ),
            clock=lambda: self.seconds,
        )

    def code(self, **request) -> CreatedJoinCode:
        with write_tx():
            return create_join_code(
                self.hub.acting(self.now_ms),
                JoinCodeRequest(**request),
                root_thumbprint=bytes.fromhex(installation().root_thumbprint),
                address=ADDRESS,
            )

    def arrive(self, *frames: Sealed) -> None:
        """As the gateway leaves them."""
        with write_tx():
            for frame in frames:
                GatewayInbox.create(
                    kind=InboxKind.ENROL,
                    sha256=frame.sha256,
                    body=frame.frame,
                    size=len(frame.frame),
                    source="192.0.2.1",
                )

    def take(self, *frames: Sealed) -> None:
        self.arrive(*frames)
        while self.enrolments.sweep():
            continue

    def refusals(self) -> list[str]:
        """The codes that the audit log holds, in order."""
        rows = Event.select().where(Event.action == "spoke.enrol", Event.outcome == "refused").order_by(Event.seq)
        return [json.loads(bytes(row.bytes))["detail"]["code"] for row in rows]
