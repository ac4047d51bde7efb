"""What parties tell each other: one frozen dataclass a message type, one encoding for all of them. PURE.

Fields are the schema (wire/schema.py). A log's body alone is not JSON: it carries spool records as they stand.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, cast

from wire import canonical, schema
from wire.address import AddressOrEmpty
from wire.canonical import JsonValue
from wire.envelope import BODY_MAX, MessageType
from wire.errors import Code, Refused, excerpt, field_name
from wire.schema import Count, Digest, FreeJson, Id, IdOrEmpty, Many, Text, Whole

LOG_BODY_MAX = 256 * 1024 - 2048
REPORTS_MAX = 500

PositiveInt = Annotated[int, Whole(1)]
Name = Annotated[str, Text(200)]
Line = Annotated[str, Text(2000)]
Paragraph = Annotated[str, Text(16_384)]
Url = Annotated[str, Text(500)]
Value = Annotated[str, Text(262_144)]
Document = Annotated[str, Text(8192, "([0-9a-f]{2})*")]
DigestOrEmpty = Annotated[str, Text(64, "([0-9a-f]{64})?")]


class Op(StrEnum):
    """All that a command can ask for."""

    PING = "ping"
    RUN_JOB = "run_job"
    UPDATE_TRUST = "update_trust"
    ROTATE_KEYS = "rotate_keys"
    CHECK = "check"
    SCAN_HOST_KEY = "scan_host_key"
    SEND_LOG = "send_log"


class JobState(StrEnum):
    """How the spoke's journal knows a job (in `hello`)."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    ENDED = "ended"


class AckState(StrEnum):
    ACCEPTED = "accepted"
    RUNNING = "running"
    KNOWN = "known"


class EndState(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    REFUSED = "refused"


class PackageRole(StrEnum):
    PACKAGE = "package"
    RUNNER = "runner"


class CredentialKind(StrEnum):
    SESSION = "session"
    API_KEY = "api-key"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Platform:
    """What a machine says it is: display text."""

    system: Annotated[str, Text(64)]
    machine: Annotated[str, Text(64)]
    release: Annotated[str, Text(128)]
    python: Annotated[str, Text(64)]
    hostname: Annotated[str, Text(255)]


@dataclass(frozen=True, slots=True)
class JobReport:
    cid: Id
    state: JobState


@dataclass(frozen=True, slots=True)
class Hello:
    """A spoke begins a session; `reports` is what its journal knows of unfinished or unconfirmed jobs, newest first."""

    nonce: Id
    clock: Annotated[int, Whole(least=0)]
    trust_version: Count
    runner_release: Count
    box_pk: Digest
    software: Name
    platform: Platform
    reports: Annotated[tuple[JobReport, ...], Many(REPORTS_MAX)]


@dataclass(frozen=True, slots=True)
class Welcome:
    """The hub opens the session; `box` is the hex of the MAD1 document of its current box key."""

    nonce: Id
    hub_nonce: Id
    hub_time: Annotated[int, Whole(1)]
    trust_version: Count
    epoch: Count
    checkpoint: Annotated[str, Text(2000)]
    heartbeat_s: Annotated[int, Whole(1, 3600)]
    box: Document


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use: processor and wall seconds, bytes of output and of disk. All positive."""

    cpu_s: PositiveInt
    wall_s: PositiveInt
    out_bytes: PositiveInt
    disk_bytes: PositiveInt


@dataclass(frozen=True, slots=True)
class PackageRef:
    """A manifest and how to open it; `release` is the hex of the MAD1 runner document, for the runner alone."""

    role: PackageRole
    manifest_id: Id
    manifest_key: Digest = field(repr=False)
    manifest_sha256: Digest
    package: Name
    version: Name
    extension: Annotated[str, Text(16)]
    size: Count
    sha256: Digest
    release: Document


@dataclass(frozen=True, slots=True)
class Command:
    op: Op
    cid: Id
    job: FreeJson
    packages: Annotated[tuple[PackageRef, ...], Many(64)]
    secrets: Annotated[dict[str, Value], Many(1000)] = field(repr=False)
    reply_to: Annotated[str, Text(32, "([0-9a-f]{32})?")]
    limits: Limits
    run_as: Annotated[str, Text(64)]
    not_before: Count
    capability: Annotated[str, Text(16_384)] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cancel:
    cid: Id
    reason: Line


@dataclass(frozen=True, slots=True)
class Ack:
    """The journal holds the job; header.cid names it, header.re and header.rh the transmission."""

    state: AckState
    detail: Line


@dataclass(frozen=True, slots=True)
class Output:
    name: Name
    value: Value = field(repr=False)
    secret: bool


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    name: Annotated[str, Text(255)]
    size: Count
    sha256: Digest
    artifact: IdOrEmpty


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended. `records` and `chain` are the length of the spool and its chain value after the last record;
    `known` says what is known of a job whose end is not; times are UTC milliseconds, 0 where there is none.
    """

    state: EndState
    exit_code: Annotated[int, Whole(-(2**31), 2**32)] | None
    message: Paragraph
    outputs: Annotated[tuple[Output, ...], Many(1000)]
    artifacts: Annotated[tuple[ArtifactRef, ...], Many(1000)]
    survivors: Annotated[tuple[Name, ...], Many(1000)]
    ended_processes: Count
    cancel_confirmed: bool | None
    started_at: Count
    ended_at: Count
    records: Count
    chain: Digest
    known: Paragraph


@dataclass(frozen=True, slots=True)
class Log:
    """The spool records that the header's idx, cnt and prev name, packed by wire/log_body.py."""

    records: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Load:
    cpu_percent: Annotated[int, Whole(0, 1_000_000)]
    memory_mb: Count
    disk_free_mb: Count
    jobs_running: Count


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The session lives; `hub_nonce` echoes the welcome, `last_seq` is the highest number received from the hub."""

    hub_nonce: Id
    counter: Annotated[int, Whole(1)]
    last_seq: Count
    load: Load
    jobs: Annotated[tuple[Id, ...], Many(REPORTS_MAX)]


@dataclass(frozen=True, slots=True)
class Reject:
    """An authentic message was refused; `mid` names it, `code` is one of ours."""

    mid: Id
    code: Annotated[str, Text(32, "[A-Z_]+")]
    detail: Line


@dataclass(frozen=True, slots=True)
class Rotate:
    """The spoke's next signing key, and that key's signature over what `wire.rotation` says."""

    new_pk: Digest
    proof: Annotated[str, Text(128, "[0-9a-f]{128}")]


@dataclass(frozen=True, slots=True)
class Enrol:
    """What a newcomer asks to be.

    `address` is where a listening spoke is dialled, "" for all others. A token of zeros is none: that spoke was
    introduced by its thumbprint.
    """

    token_id: Annotated[str, Text(16, "[0-9a-f]{16}")]
    token_secret: Id = field(repr=False)
    box_pk: Digest
    tls_spki: DigestOrEmpty
    nonce: Id
    platform: Platform
    requested_name: Annotated[str, Text(100)]
    kind: Annotated[str, Text(16, "polling|listening|ssh|local|relay")]
    address: AddressOrEmpty
    roles: Annotated[tuple[Annotated[str, Text(100)], ...], Many(50)]
    environments: Annotated[tuple[Annotated[str, Text(100)], ...], Many(50)]

    @property
    def is_introduced(self) -> bool:
        return not self.token_id.strip("0") and not self.token_secret.strip("0")


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """All empty for a listening spoke: a relay brings and takes its messages."""

    url: Url
    user: Name
    password: Annotated[str, Text(200)] = field(repr=False)
    vhost: Name
    spki: DigestOrEmpty


@dataclass(frozen=True, slots=True)
class Enrolled:
    spoke_id: Id
    enrol_sha256: Digest
    trust_version: Count
    broker: BrokerAccess
    gateway: Url
    hub_id: Id


@dataclass(frozen=True, slots=True)
class Credential:
    """By what a person asks; the engine checks it again."""

    kind: CredentialKind
    id: Annotated[str, Text(64)]


@dataclass(frozen=True, slots=True)
class Intent:
    """A face asks the engine for one operation; `sealed` are secret values by name."""

    operation: Annotated[str, Text(100, "[a-z][a-z0-9_.-]*")]
    credential: Credential
    request: FreeJson
    idempotency_key: Annotated[str, Text(200)]
    sealed: Annotated[dict[str, Value], Many(1000)] = field(repr=False)


Body = Command | Cancel | Welcome | Hello | Ack | Result | Log | Heartbeat | Reject | Rotate | Enrol | Enrolled | Intent

BODIES: MappingProxyType[MessageType, type[Body]] = MappingProxyType(
    {
        MessageType.COMMAND: Command,
        MessageType.CANCEL: Cancel,
        MessageType.WELCOME: Welcome,
        MessageType.HELLO: Hello,
        MessageType.ACK: Ack,
        MessageType.RESULT: Result,
        MessageType.LOG: Log,
        MessageType.HEARTBEAT: Heartbeat,
        MessageType.REJECT: Reject,
        MessageType.ROTATE: Rotate,
        MessageType.ENROL: Enrol,
        MessageType.ENROLLED: Enrolled,
        MessageType.INTENT: Intent,
    }
)
_OPS = frozenset(str(op) for op in Op)
_KINDS = {cls: kind for kind, cls in BODIES.items()}


def kind_of(body: Body) -> MessageType:
    return _KINDS[type(body)]


def encode(body: Body) -> bytes:
    """The bytes of a message; what a receiver would refuse is refused here.

    Raises:
        Refused: as `decode`, and ENV_TOOBIG.
    """
    if isinstance(body, Log):
        _check_log(body.records)
        return body.records
    written = schema.write(body)
    _read(_KINDS[type(body)], written)
    data = canonical.encode(written)
    if len(data) > BODY_MAX:
        raise Refused(Code.ENV_TOOBIG, f"a body of {len(data)} bytes; at most {BODY_MAX}: use a package or an artifact")
    return data


def decode(kind: MessageType, data: bytes) -> Body:
    """The message of an opened body.

    Raises:
        Refused: ENV_OP for a command outside the table or with limits that are none; ENV_SCHEMA with the field;
            ENV_DUPKEY, ENV_FLOAT.
    """
    if kind is MessageType.LOG:
        _check_log(data)
        return Log(data)
    return _read(kind, canonical.decode(data))


def _read(kind: MessageType, value: JsonValue) -> Body:
    if kind is MessageType.COMMAND:
        _check_op(value)
    body = schema.read(cast("type[Any]", BODIES[kind]), value)  # one reader for all: the class decides
    return cast("Body", body)  # BODIES holds these classes alone


def _check_op(value: JsonValue) -> None:
    if not isinstance(value, dict):
        return
    op, limits = value.get("op"), value.get("limits")
    if type(op) is str and op not in _OPS:
        raise Refused(Code.ENV_OP, f"no op {excerpt(op)}", field="op")
    if isinstance(limits, dict):
        for name, limit in limits.items():
            if type(limit) is int and limit <= 0:
                raise Refused(Code.ENV_OP, "a limit must be positive", field=f"limits.{field_name(name)}")


def _check_log(records: bytes) -> None:
    if not 0 < len(records) <= LOG_BODY_MAX:
        raise Refused(Code.ENV_SCHEMA, f"expected 1 to {LOG_BODY_MAX} bytes of records", field="records")
