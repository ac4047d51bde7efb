"""What the gateway is made of: paths, public documents, one MAC key; nothing that opens anything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.gateway.rates import Rate
from hub.packages.chunk_store import ChunkStore
from hub.serving import shown_in_tls


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What strangers and spokes may do here.

    Attributes:
        enrolments: Knocks at the enrolment endpoint, an address.
        questions: Questions about an enrolment, an address: a spoke asks each second.
        unopened: Enrolments that wait for the engine at the most: beyond it everybody waits.
        artifact_bytes: Of one artifact, as stored.
        chunk_ids: Asked for in one request.
    """

    enrolments: Rate = field(default=Rate(burst=20, per_minute=30))
    questions: Rate = field(default=Rate(burst=60, per_minute=240))
    unopened: int = 1_000
    artifact_bytes: int = 2 * 1024**3
    chunk_ids: int = 4_096


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """Handed to `create_gateway` by the composition.

    Attributes:
        store: The chunk files.
        capability_key: By which capabilities of the engine are known.
        artifacts: Folder for artifacts that nobody here can open.
        wheels: Folder with the wheel on offer.
        peer_certificate: DER of what the other end of this request's connection has shown, None where it was nothing.
        wake_engine: Called when something has come in; may do nothing, for the engine looks by itself.
        clock_ms: UTC milliseconds.
    """

    store: ChunkStore
    capability_key: bytes = field(repr=False)
    artifacts: Path
    wheels: Path
    clock_ms: Callable[[], int]
    peer_certificate: Callable[[Mapping[str, Any]], bytes | None] = shown_in_tls
    wake_engine: Callable[[], None] = lambda: None
    limits: GatewayLimits = field(default_factory=GatewayLimits)
