"""What the engine is made of: handed in by the composition, so that tests hand in theirs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from hub.orchestrator.admitting import QueueLimits
from hub.orchestrator.leases import Leases
from hub.orchestrator.planner import PlanLimits
from hub.storage.models import new_row_id, now_ms
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.connection import Connection
from wire.keys import BoxKey, SigningKey
from wire.roles import KeyDirectory


@dataclass(frozen=True, slots=True)
class FormerCommand:
    """The command key before the present one, for spokes whose trust document is older than version `until`.

    `box` is the hex of the box key's certificate by this key.
    """

    key: SigningKey
    until: int
    box: str


@dataclass(frozen=True, slots=True)
class TrustState:
    """What the hub tells spokes of itself: `box` is the hex of the MAD1 document of its current box key.

    Attributes:
        key: The command key; None: `EngineParts.command_key` says it.
        former: While a rotated command key is in its overlap.
        floor: A spoke that knows an older version than this gets no command: a key was revoked since.
        restored_ms: When the hub was put back to an earlier state; 0: never.
        waits: Why nobody gets a command: somebody must sign the new epoch; "" for nothing.
    """

    hub_id: str
    epoch: int
    version: int
    checkpoint: str
    box: str
    key: SigningKey | None = None
    former: FormerCommand | None = None
    floor: int = 0
    restored_ms: int = 0
    waits: str = ""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Times and sizes of the engine.

    A spoke is called unavailable after `missed_beats` heartbeats; `republish_s` grows with each attempt. A result
    waits up to `held_s` for the log before it, a part of a log up to `early_s` for the part before it; then there is a
    gap, and `log_gap_s` later its spoke is asked for what is missing, or `log_late_s` after an end whose log did not
    come. `batch` frames are taken at once, `log_batch` of the large ones. After a start, or after the broker was gone,
    no job is given up for `deaf_grace_s`.
    """

    heartbeat_s: int = 15
    missed_beats: int = 2
    republish_s: int = 20
    command_ttl_s: int = 900
    held_s: float = 10.0
    early_s: float = 2.0
    log_gap_s: float = 5.0
    log_late_s: float = 60.0
    batch: int = 200
    log_batch: int = 16
    beat_batch: int = 500
    quarantine: int = 100
    outputs_bytes: int = 256 * 1024
    deaf_grace_s: float = 45.0

    def __post_init__(self) -> None:
        if self.missed_beats < 1 or self.heartbeat_s < 1:
            raise ValueError("a spoke must be given at least one heartbeat")
        if self.republish_s >= self.command_ttl_s:
            raise ValueError("a command must be sent again before it expires")

    @property
    def log_gap_ms(self) -> int:
        return int(self.log_gap_s * 1000)

    @property
    def log_late_ms(self) -> int:
        return int(self.log_late_s * 1000)


@dataclass(frozen=True, slots=True)
class Loop:
    """A thread of somebody else's that lives as long as the engine; `run` returns soon after the event is set."""

    name: str
    run: Callable[[Event], None]


def _nothing(_: str) -> None:
    """Where the composition has nothing to declare."""


class Carriers(Protocol):
    """Who may carry for whom: hub/infrastructure/fleet.py."""

    def carries(self, relay_id: str, spoke_id: str) -> bool: ...
    def expects_frame(self, relay_id: str, spoke_id: str, signer_pk: bytes, frame_sha256: str) -> bool: ...
    def fleet_of_relay(self, relay_id: str) -> str: ...


class Nobody:
    """Where there are no relays."""

    def carries(self, relay_id: str, spoke_id: str) -> bool:  # noqa: ARG002  the protocol's signature
        return False

    def expects_frame(self, relay_id: str, spoke_id: str, signer_pk: bytes, frame_sha256: str) -> bool:  # noqa: ARG002  as above
        return False

    def fleet_of_relay(self, relay_id: str) -> str:  # noqa: ARG002  the protocol's signature
        return ""


@dataclass(frozen=True, slots=True)
class EngineParts:
    """Everything from outside.

    Attributes:
        vault: The engine's.
        seals: With the signing key of rows.
        connection: To the broker, as the hub.
        keys: Signing keys of spokes, checked rows alone.
        boxes: The hub's box keys that may still open something, newest first.
        command_key: Signs commands, cancels and welcomes.
        trust: Asked anew every second, since documents change; so are `boxes` and `command_key`.
        carriers: Which relay may carry for which spoke.
        declare_mailbox: Makes a spoke's queue anew when the broker has lost it.
        broker_trouble: Why the broker takes nothing at present; "" where it does.
        loops: More threads: intents, the gateway's inbox, roll-outs.
        node: This engine's name, as people read it; "": machine and process.
        leases: What this one of several engines does alone.
    """

    vault: Vault
    seals: RowSeals
    connection: Connection
    keys: KeyDirectory
    boxes: Callable[[], Sequence[BoxKey]]
    command_key: Callable[[], SigningKey]
    trust: Callable[[], TrustState]
    carriers: Carriers = field(default_factory=Nobody)
    declare_mailbox: Callable[[str], None] = _nothing
    broker_trouble: Callable[[], str] = str
    clock_ms: Callable[[], int] = now_ms
    limits: EngineLimits = field(default_factory=EngineLimits)
    plan_limits: PlanLimits = field(default_factory=PlanLimits)
    queue_limits: QueueLimits = field(default_factory=QueueLimits)
    loops: Sequence[Loop] = ()
    node: str = ""
    leases: Leases = field(default_factory=lambda: Leases(new_row_id()))
