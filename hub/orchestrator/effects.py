"""PURE. What follows from an event: `progress.advance` names it, the engine writes it in the same transaction."""

from dataclasses import dataclass
from enum import StrEnum

from hub.orchestrator.states import StepState
from hub.states import JobState, TaskState


class Level(StrEnum):
    """Whose words a line of a task's log is."""

    STDOUT = "stdout"
    STDERR = "stderr"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    VERBOSE = "verbose"


@dataclass(frozen=True, slots=True)
class SendJob:
    """Send this attempt; its row may not exist yet."""

    job: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class SendCancel:
    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class DropJob:
    """Never send this attempt from now on."""

    job: str


@dataclass(frozen=True, slots=True)
class ExpireJob:
    """Never send this attempt any more. If it never went out, `JobExpired` follows; else its spoke must leave it."""

    job: str


@dataclass(frozen=True, slots=True)
class SetJob:
    job: str
    state: JobState
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Until when the hub waits for this attempt as it stands; `run_ms`: when its machine ends it, None as before."""

    job: str
    until_ms: int
    run_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SkipJobs:
    """Every job of the step that has not begun never will."""

    step: int


@dataclass(frozen=True, slots=True)
class SetStep:
    step: int
    state: StepState


@dataclass(frozen=True, slots=True)
class SetTask:
    """`failure`: why it did not succeed, in one sentence."""

    state: TaskState
    failure: str = ""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """At most one timer of a name; a later one replaces it."""

    name: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class DropTimer:
    name: str


@dataclass(frozen=True, slots=True)
class Say:
    """A line of the hub's own words in the task's log."""

    level: Level
    text: str
    step: str = ""
    target: str = ""


Effect = (
    SendJob
    | SendCancel
    | DropJob
    | ExpireJob
    | SetJob
    | SetDeadline
    | SkipJobs
    | SetStep
    | SetTask
    | SetTimer
    | DropTimer
    | Say
)
