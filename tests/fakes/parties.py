"""A hub and spokes with real keys and a real trust chain, in memory: what tests of the wire are told against."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from wire.documents import BoxDocument
from wire.envelope import MessageType
from wire.exchange import Received, Sealed, open_from_spoke, seal_to_spoke
from wire.keys import BoxKey, SigningKey, new_id
from wire.messages import Body, Command, Heartbeat, Hello, Limits, Load, Op, Platform, Welcome
from wire.roles import KeyTable, Role, TrustedKey
from wire.session import SpokeFacts, SpokeIdentity, SpokeSession
from wire.trust import DocumentKey, RunnerFloor, TrustChain, TrustDocument, sign_trust

NOW = 1_800_000_000
DAY = 86_400
PLATFORM = Platform("Linux", "x86_64", "6.1", "3.11.7", "web-1")
FACTS = SpokeFacts(1, "manyarm 0.1.0", PLATFORM)


def trust_document(
    hub_id: str, keys: dict[SigningKey, Role] | list[tuple[SigningKey, Role]], **changes: Any
) -> TrustDocument:
    pairs = keys.items() if isinstance(keys, dict) else keys
    document = TrustDocument(
        hub=hub_id,
        version=1,
        prev_sha256="",
        issued=NOW - DAY,
        expires=NOW + 300 * DAY,
        threshold=1,
        epoch=1,
        min_envelope=1,
        keys=tuple(DocumentKey.of(key.verify_key, role, nbf=NOW - DAY, naf=NOW + 365 * DAY) for key, role in pairs),
        revoked=(),
        tls_pins=(),
        runner=RunnerFloor(0),
    )
    return replace(document, **changes)


@dataclass
class FakeSpoke:
    """A spoke's keys and its session; `mono` is its monotonic clock, which tests move."""

    spoke_id: str
    signing: SigningKey
    box: BoxKey
    session: SpokeSession
    mono: float = 1000.0
    hub_seq: int = 0

    @property
    def trusted(self) -> TrustedKey:
        return TrustedKey(self.signing.verify_key, Role.SPOKE_SIGN, self.spoke_id)


@dataclass
class FakeHub:
    """The hub's keys, trust chain and known spokes; `now` is its clock, which tests move."""

    hub_id: str = field(default_factory=new_id)
    root: SigningKey = field(default_factory=SigningKey.generate)
    command: SigningKey = field(default_factory=SigningKey.generate)
    portal: SigningKey = field(default_factory=SigningKey.generate)
    release: SigningKey = field(default_factory=SigningKey.generate)
    box: BoxKey = field(default_factory=BoxKey.generate)
    now: int = NOW
    spokes: list[FakeSpoke] = field(default_factory=list)
    chain: TrustChain = field(init=False)

    def __post_init__(self) -> None:
        frame = sign_trust(self.document(), [self.root])
        self.chain = TrustChain.from_root(self.root_sha256, [frame])

    @property
    def root_sha256(self) -> bytes:
        return hashlib.sha256(self.root.verify_key.pk).digest()

    @property
    def keys(self) -> dict[SigningKey, Role]:
        return {
            self.root: Role.HUB_ROOT,
            self.command: Role.HUB_COMMAND,
            self.portal: Role.HUB_PORTAL,
            self.release: Role.HUB_RELEASE,
        }

    def document(self, **changes: Any) -> TrustDocument:
        return trust_document(self.hub_id, self.keys, **changes)

    def next_document(self, **changes: Any) -> TrustDocument:
        held = self.chain.document
        follow: dict[str, Any] = {"version": held.version + 1, "prev_sha256": self.chain.sha256}
        return replace(held, **(follow | changes))

    def publish(self, **changes: Any) -> bytes:
        """The next trust document, in force at the hub; what spokes get of it is the test's business."""
        frame = sign_trust(self.next_document(**changes), [self.root])
        self.chain = self.chain.update([frame])
        return frame

    def directory(self) -> KeyTable:
        return KeyTable([spoke.trusted for spoke in self.spokes])

    def new_spoke(self) -> FakeSpoke:
        spoke_id, signing, box = new_id(), SigningKey.generate(), BoxKey.generate()
        identity = SpokeIdentity(spoke_id, self.hub_id, signing, (box,))
        spoke = FakeSpoke(spoke_id, signing, box, SpokeSession(identity, self.chain, 1, self.box.public))
        self.spokes.append(spoke)
        return spoke

    def restarted(self, spoke: FakeSpoke) -> None:
        """The spoke's daemon forgets its session."""
        spoke.session = SpokeSession(spoke.session.identity, self.chain, 1, self.box.public)
        spoke.hub_seq = 0

    def box_frame(self) -> bytes:
        return BoxDocument.of(self.hub_id, self.box.public, issued=self.now, expires=self.now + 60 * DAY).sign(
            self.command
        )

    def receive(self, frame: bytes) -> Received:
        return open_from_spoke(frame, self.directory(), [self.box], self.hub_id, self.now)

    def send(self, spoke: FakeSpoke, body: Body, *, signer: SigningKey | None = None, **changes: Any) -> Sealed:
        kind = changes.pop("kind", MessageType.COMMAND)
        asked: dict[str, Any] = {
            "signer": signer or self.command,
            "spoke_box": spoke.box.public,
            "hub_id": self.hub_id,
            "spoke_id": spoke.spoke_id,
            "ses": spoke.session.nonce,
            "epoch": 1,
            "now_s": self.now,
            "cid": getattr(body, "cid", ""),
        }
        if "seq" not in changes:
            spoke.hub_seq += 1
            asked["seq"] = spoke.hub_seq
        return seal_to_spoke(kind, body, **(asked | changes))

    def welcome_to(self, spoke: FakeSpoke, hello: bytes, **changes: Any) -> bytes:
        body = self.receive(hello).body
        assert isinstance(body, Hello)
        welcome = Welcome(
            nonce=body.nonce,
            hub_nonce=new_id(),
            hub_time=self.now,
            trust_version=self.chain.version,
            epoch=1,
            checkpoint="",
            heartbeat_s=10,
            box=self.box_frame().hex(),
        )
        sent = {name: changes.pop(name) for name in ("signer", "ses") if name in changes}
        asked: dict[str, Any] = {"kind": MessageType.WELCOME, "ses": body.nonce, "seq": 0}
        return self.send(spoke, replace(welcome, **changes), **(asked | sent)).frame

    def open_session(self, spoke: FakeSpoke, *, wall_s: float | None = None) -> Welcome:
        hello = spoke.session.hello(FACTS, self.now if wall_s is None else wall_s, spoke.mono)
        welcome = spoke.session.welcome(self.welcome_to(spoke, hello), spoke.mono)
        spoke.hub_seq = 0
        return welcome


def command(**changes: Any) -> Command:
    made = Command(
        op=Op.RUN_JOB,
        cid=new_id(),
        job={"task": "t-1", "step": {"name": "Deploy web"}},
        packages=(),
        secrets={"ApiToken": "canary-secret"},
        reply_to="",
        limits=Limits(60, 60, 1 << 20, 1 << 30),
        run_as="",
        not_before=0,
        capability="",
    )
    return replace(made, **changes)


def heartbeat(session: SpokeSession, counter: int = 1) -> Heartbeat:
    return Heartbeat(session.hub_nonce, counter, session.last_seq, Load(1, 64, 1000, 0), ())
