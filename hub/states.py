"""The states that rows go through, one word each, the same in table, service, API, page and test. PURE."""

from enum import IntEnum, StrEnum


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


TASK_ENDED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.UNKNOWN})


class TaskKind(StrEnum):
    DEPLOYMENT = "deployment"
    PREVIEW = "preview"  # What a deployment would change in files; nothing is.
    SCRIPT_RUN = "script-run"
    HEALTH_CHECK = "health-check"
    HOST_KEY_SCAN = "host-key-scan"


class Priority(IntEnum):
    """Within its project; `urgent` goes before other projects too. Stored as its number, shown as its word."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class JobState(StrEnum):
    PLANNED = "planned"
    WAITING = "waiting"
    SENT = "sent"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"  # Never begun: an earlier one failed, or its step's condition was not met.


JOB_OPEN = frozenset({JobState.PLANNED, JobState.WAITING, JobState.SENT, JobState.ACCEPTED, JobState.RUNNING})
JOB_ENDED = frozenset(JobState) - JOB_OPEN


class LogState(StrEnum):
    """Of one job's log: all records in and the chain right, some missing (shown as such), or cut at its cap."""

    OPEN = "open"
    COMPLETE = "complete"
    GAP = "gap"
    DIFFERS = "differs"  # What came does not follow on, or does not end as the outcome says.
    TRUNCATED = "truncated"


class FetchState(StrEnum):
    """Of what is missing in one job's log: looked after, here after all, or missing for good."""

    OPEN = "open"
    DONE = "done"
    GIVEN_UP = "given-up"


class OutboxKind(StrEnum):
    COMMAND = "command"
    CANCEL = "cancel"
    WELCOME = "welcome"
    ENROLLED = "enrolled"
    EVENT = "event"
    ORDER = "order"  # To the spoke itself, with no task behind it.
    CALL = "call"  # An order in a session that only its spoke knows: say hello.


class OutboxState(StrEnum):
    WAITING = "waiting"  # For a live session.
    HELD = "held"  # For a machine that its spoke cannot reach at present.
    PUBLISHED = "published"  # Confirmed by the broker.
    ACCEPTED = "accepted"  # Acknowledged by the spoke.
    DONE = "done"
    DEAD = "dead"


class SpokeKind(StrEnum):
    POLLING = "polling"
    LISTENING = "listening"
    SSH = "ssh"
    LOCAL = "local"
    RELAY = "relay"


class TargetKind(StrEnum):
    """How a target is reached: by a spoke on it, by the ssh spoke, or, being no machine, by the hub-run one."""

    POLLING = "polling"
    LISTENING = "listening"
    SSH = "ssh"
    CLOUD = "cloud"
    LOCAL = "local"  # The hub's own machine: what steps with `on: hub` run on.


class AccountKind(StrEnum):
    SSH_KEY = "ssh-key"
    PASSWORD = "password"  # noqa: S105  The name of a kind.
    AWS = "aws"
    AZURE = "azure"
    GOOGLE = "google"
    GENERIC = "generic"


class SpokeState(StrEnum):
    PENDING = "pending"
    TRUSTED = "trusted"
    REVOKED = "revoked"


class Health(StrEnum):
    HEALTHY = "healthy"
    WARNING = "warning"
    UNHEALTHY = "unhealthy"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    DISABLED = "disabled"  # Shown of a target that takes no part; its row goes on saying how the machine is.


class Unavailable(StrEnum):
    """What a deployment does with a target that is unavailable as it is planned."""

    FAIL = "fail"
    SKIP = "skip"
    WAIT = "wait"


class EnrolmentState(StrEnum):
    WAITING = "waiting"
    ANSWERED = "answered"
    REFUSED = "refused"


class InboxState(StrEnum):
    NEW = "new"
    DONE = "done"
    REFUSED = "refused"


class InboxKind(StrEnum):
    ENROL = "enrol"
    ARTIFACT = "artifact"


class Approval(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


class UserState(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


class IntentState(StrEnum):
    NEW = "new"
    DONE = "done"
    FAILED = "failed"


class HubKeyState(StrEnum):
    PENDING = "pending"  # Made; it takes over with the trust document that names it.
    ACTIVE = "active"
    PREVIOUS = "previous"  # Still opens or verifies, makes nothing new.
    RETIRED = "retired"
    EXPORTED = "exported"  # The private half lives elsewhere.


class DataKeyState(StrEnum):
    ACTIVE = "active"
    READ = "read"
    RETIRED = "retired"


class PackState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class PackageKind(StrEnum):
    PACKAGE = "package"
    RUNNER = "runner"


class VariableOwner(StrEnum):
    PROJECT = "project"
    SET = "set"


class ArtifactState(StrEnum):
    EXPECTED = "expected"
    STORED = "stored"
    REFUSED = "refused"


class ConsumerState(StrEnum):
    WANTED = "wanted"  # It gets its account and queues at the broker.
    READY = "ready"
    REMOVED = "removed"  # They are taken away; then the row goes.
