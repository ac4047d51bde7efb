"""What the API is made of; hub/composition builds it, the portal hands it on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hub.access.passwords import Passwords
from hub.api.callers import SessionResolver
from hub.api.log_poller import LogPoller
from hub.api.rate_limit import RateLimit
from hub.operations.asking import Asking
from hub.packages.chunk_store import ChunkStore
from hub.packages.ingest import Ingestion
from hub.storage.files import FileStore
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.step_kind import StepKind

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Sizes in bytes, times in seconds.

    A JSON body must fit into one intent (1 MiB sealed), so it is kept below it. `answer_wait_s`: after that an answer
    is 202 with a link. `stream_s`: a log stream ends and the browser comes back, so a revoked right never lives longer.
    """

    json_bytes: int = 900 * 1024
    upload_bytes: int = 2048 * MEGABYTE
    answer_wait_s: float = 5.0
    stream_s: float = 600.0
    stream_comment_s: float = 15.0
    stream_recheck_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ApiParts:
    """`vault`: the portal's. `broker_connected`, `checks`: for /readyz. `session_caller`: the portal's own sign-in.

    `broker_url`: scheme, host and port of the broker as others reach it; "" where nobody has said.
    """

    asking: Asking
    vault: Vault
    seals: RowSeals
    chunks: ChunkStore
    ingestion: Ingestion
    artifacts: FileStore
    passwords: Passwords
    poller: LogPoller
    step_kinds: Callable[[], Mapping[str, StepKind]]
    broker_connected: Callable[[], bool]
    broker_url: str = ""
    session_caller: SessionResolver | None = None
    rate_limit: RateLimit = field(default_factory=RateLimit)
    limits: ApiLimits = field(default_factory=ApiLimits)
