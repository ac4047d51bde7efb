"""The hub's end of the wire, as small as it can be: welcomes spokes, sends them commands, keeps what they say.

    end = HubEnd(hub, connection); end.start()
    spoke = end.know(spoke_id, signing.verify_key, box.public)
    sent = end.command(spoke_id, command(...)); end.result(sent.cid)

Its clock starts at the time of `tests.fakes.parties`, years from now: a spoke that believed its own clock would fail.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.parties import FakeHub
from wire.connection import Connection, Delivery, Outgoing
from wire.envelope import MessageType
from wire.errors import Refused
from wire.exchange import Received, Sealed, open_from_spoke, seal_to_spoke
from wire.keys import BoxPublicKey, VerifyKey, hex_bytes, new_id
from wire.log_body import unpack_records
from wire.messages import Ack, Body, Cancel, Command, Heartbeat, Hello, Log, Reject, Result, Welcome
from wire.roles import KeyTable, Role, TrustedKey
from wire.topology import COMMANDS, HUB_BEATS, HUB_LOGS, HUB_RESULTS, EventKind

WAIT_S = 60.0


@dataclass
class KnownSpoke:
    """What the hub remembers of one spoke."""

    spoke_id: str
    key: VerifyKey
    box: BoxPublicKey
    nonce: str = ""
    hub_nonce: str = ""
    live: bool = False
    seq: int = 0
    hellos: list[Hello] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)


@dataclass(frozen=True)
class Sent:
    cid: str
    mid: str
    frame: bytes
    sha256: str


class HubEnd:
    """Collects by job id; every wait has an end. `heartbeat_s` is what it asks of spokes."""

    def __init__(self, hub: FakeHub, connection: Connection, *, heartbeat_s: int = 1) -> None:
        self.hub = hub
        self.heartbeat_s = heartbeat_s
        self.welcomes = True
        self.named_trust_version: int | None = None
        self.spokes: dict[str, KnownSpoke] = {}
        self.acks: dict[str, list[Ack]] = defaultdict(list)
        self.results: dict[str, list[Result]] = defaultdict(list)
        self.answers: dict[str, list[Received]] = defaultdict(list)
        self.logs: dict[str, dict[int, tuple[int, str, bytes]]] = defaultdict(dict)
        self.rejects: list[Reject] = []
        self.refused: list[Refused] = []
        self.enrolments: list[tuple[str, bytes]] = []
        self.hints: list[tuple[str, dict[str, str]]] = []
        self._connection = connection
        self._began = time.monotonic()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def now(self) -> int:
        return self.hub.now + int(time.monotonic() - self._began)

    def start(self) -> None:
        for queue in (HUB_RESULTS, HUB_LOGS, HUB_BEATS):
            subscription = self._connection.consume(queue, prefetch=500)
            thread = threading.Thread(target=self._run, args=(subscription,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._connection.close()

    def know(self, spoke_id: str, key: VerifyKey, box: BoxPublicKey) -> KnownSpoke:
        self.spokes[spoke_id] = KnownSpoke(spoke_id, key, box)
        return self.spokes[spoke_id]

    # Towards a spoke

    def command(self, spoke_id: str, body: Command, **changes: Any) -> Sent:
        sealed = self.sealed(spoke_id, body, **changes)
        self.publish(spoke_id, sealed.frame)
        return Sent(body.cid, sealed.mid, sealed.frame, sealed.sha256)

    def cancel(self, spoke_id: str, cid: str, reason: str = "asked to", **changes: Any) -> Sent:
        sealed = self.sealed(spoke_id, Cancel(cid, reason), kind=MessageType.CANCEL, **changes)
        self.publish(spoke_id, sealed.frame)
        return Sent(cid, sealed.mid, sealed.frame, sealed.sha256)

    def sealed(self, to: str, body: Body, **changes: Any) -> Sealed:
        """A frame in that spoke's session; whatever is given wins."""
        spoke = self.wait_live(to)
        with self._changed:
            spoke.seq += 1
            asked: dict[str, Any] = {
                "kind": MessageType.COMMAND,
                "signer": self.hub.command,
                "spoke_box": spoke.box,
                "hub_id": self.hub.hub_id,
                "spoke_id": to,
                "ses": spoke.nonce,
                "seq": spoke.seq,
                "epoch": self.hub.chain.document.epoch,
                "now_s": self.now,
                "cid": getattr(body, "cid", ""),
            }
        asked |= changes
        return seal_to_spoke(asked.pop("kind"), body, **asked)

    def publish(self, spoke_id: str, frame: bytes) -> None:
        self._connection.publish(Outgoing(COMMANDS, spoke_id, frame)).result(WAIT_S)

    # What came back

    def wait_live(self, spoke_id: str, timeout_s: float = WAIT_S) -> KnownSpoke:
        spoke = self.spokes[spoke_id]
        self.wait(lambda: spoke.live, f"spoke {spoke_id} is live", timeout_s)
        return spoke

    def ack(self, cid: str) -> Ack:
        self.wait(lambda: bool(self.acks[cid]), f"an ack of {cid}")
        return self.acks[cid][0]

    def result(self, cid: str, timeout_s: float = WAIT_S) -> Result:
        self.wait(lambda: bool(self.results[cid]), f"a result of {cid}", timeout_s)
        return self.results[cid][0]

    def reject(self, mid: str) -> Reject:
        found: list[Reject] = []

        def came() -> bool:
            found[:] = [reject for reject in self.rejects if reject.mid == mid]
            return bool(found)

        self.wait(came, f"a reject of {mid}")
        return found[0]

    def spool(self, cid: str) -> bytes:
        """The records of a job in order, as far as they came without a hole, every chain value compared."""
        with self._changed:
            ranges = dict(self.logs[cid])
        number, chain, parts = 0, bytes(32).hex(), []
        while number in ranges:
            count, prev, records = ranges[number]
            assert prev == chain
            parts.append(records)
            chain = records[-32:].hex()
            number += count
        return b"".join(parts)

    def whole_log(self, cid: str) -> bytes:
        """What the job printed, once all that its result announces is here."""
        result = self.result(cid)
        self.wait(lambda: self._has_all(cid, result), f"the whole log of {cid}")
        return text_of(self.spool(cid))

    def wait(self, holds: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        with self._changed:
            if not self._changed.wait_for(holds, timeout_s):
                raise AssertionError(f"waited {timeout_s} s in vain for {what}; refused: {self.refused[-3:]}")

    def _has_all(self, cid: str, result: Result) -> bool:
        spool = self._spool_unlocked(cid)
        return bool(result.records == 0 or (spool and spool[-32:].hex() == result.chain))

    def _spool_unlocked(self, cid: str) -> bytes:
        number, parts = 0, []
        ranges = self.logs[cid]
        while number in ranges:
            count, _, records = ranges[number]
            parts.append(records)
            number += count
        return b"".join(parts)

    def _run(self, subscription: Any) -> None:
        while not self._stopped.is_set():
            deliveries = subscription.take(200, 0.2)
            for delivery in deliveries:
                try:
                    self._take(delivery)
                except Refused as refusal:
                    self.refused.append(refusal)
            if deliveries:
                subscription.ack(deliveries)
        subscription.close()

    def _take(self, delivery: Delivery) -> None:
        words = delivery.key.split(".")
        if words[1] == EventKind.HINT:
            self.hints.append((words[2], json.loads(delivery.body)))
            return
        if words[1] == EventKind.ENROL:
            self.enrolments.append((words[2], delivery.body))
            return
        directory = KeyTable(
            [TrustedKey(spoke.key, Role.SPOKE_SIGN, spoke.spoke_id) for spoke in list(self.spokes.values())]
        )
        received = open_from_spoke(delivery.body, directory, [self.hub.box], self.hub.hub_id, self.now)
        spoke = self.spokes[received.signer.owner]
        if isinstance(received.body, Hello):
            self._hello(spoke, received.body)
            return
        with self._changed:
            self._keep(spoke, received)
            self._changed.notify_all()

    def _keep(self, spoke: KnownSpoke, received: Received) -> None:
        body, cid = received.body, received.header.cid
        if isinstance(body, Heartbeat):
            spoke.beats.append(body)
            spoke.live = spoke.live or body.hub_nonce == spoke.hub_nonce
        elif isinstance(body, Ack):
            self.acks[cid].append(body)
            self.answers[cid].append(received)
        elif isinstance(body, Result):
            self.results[cid].append(body)
            self.answers[cid].append(received)
        elif isinstance(body, Reject):
            self.rejects.append(body)
        elif isinstance(body, Log):
            header = received.header
            self.logs[cid][header.idx] = (header.cnt, header.prev, unpack_records(body.records))

    def _hello(self, spoke: KnownSpoke, hello: Hello) -> None:
        with self._changed:
            spoke.hellos.append(hello)
            self._changed.notify_all()
            if not self.welcomes:
                return
            spoke.nonce, spoke.hub_nonce, spoke.live, spoke.seq = hello.nonce, new_id(), False, 0
            spoke.box = BoxPublicKey.of(hex_bytes(hello.box_pk, 32))
        self.publish(spoke.spoke_id, self.welcome(spoke, hello.nonce))

    def welcome(self, spoke: KnownSpoke, nonce: str, **changes: Any) -> bytes:
        version = self.hub.chain.version if self.named_trust_version is None else self.named_trust_version
        body = Welcome(
            nonce=nonce,
            hub_nonce=spoke.hub_nonce,
            hub_time=self.now,
            trust_version=version,
            epoch=self.hub.chain.document.epoch,
            checkpoint="",
            heartbeat_s=self.heartbeat_s,
            box=self.hub.box_frame().hex(),
        )
        asked: dict[str, Any] = {
            "signer": self.hub.command,
            "spoke_box": spoke.box,
            "hub_id": self.hub.hub_id,
            "spoke_id": spoke.spoke_id,
            "ses": nonce,
            "seq": 0,
            "epoch": self.hub.chain.document.epoch,
            "now_s": self.now,
        }
        return seal_to_spoke(MessageType.WELCOME, body, **(asked | changes)).frame


def text_of(spool: bytes) -> bytes:
    """The text records' bytes, joined."""
    at, text = 0, []
    while at < len(spool):
        size = int.from_bytes(spool[at : at + 4], "big")
        payload = spool[at + 8 : at + 8 + size]
        if payload[0] == 0:
            text.append(payload[10:])
        at += 8 + size + 32
    return b"".join(text)
