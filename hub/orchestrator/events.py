"""PURE. What can happen to a task: the only things that `advance` takes. A job is named by the id of its attempt."""

from dataclasses import dataclass

from hub.states import JobState

DEADLINE_TIMER = "deadline"
TASK_TIMER = "task"
QUEUE_TIMER = "queue"


@dataclass(frozen=True, slots=True)
class Started:
    """The task's turn has come."""


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """The spoke has journalled it."""

    job: str


@dataclass(frozen=True, slots=True)
class JobStarted:
    job: str


@dataclass(frozen=True, slots=True)
class JobRenewed:
    """Its spoke is there, has it, and has not begun: it is asked for once more, with a new time."""

    job: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """`state` is one of ENDS; `began`: whether it ran at all; `ended_processes`: how many were ended to stop it."""

    job: str
    state: JobState
    exit_code: int | None = None
    message: str = ""
    began: bool = False
    ended_processes: int = 0


@dataclass(frozen=True, slots=True)
class JobExpired:
    """Its time to be taken is over, and it never went out or was refused: it can never start."""

    job: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    name: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """`by`: the name of who asked."""

    by: str


@dataclass(frozen=True, slots=True)
class SpokeRevoked:
    spoke: str


@dataclass(frozen=True, slots=True)
class HubRestored:
    """The hub was put back to an earlier state: nothing more of the task begins; `words` say so to people."""

    words: str


Event = (
    Started
    | JobAccepted
    | JobStarted
    | JobRenewed
    | JobEnded
    | JobExpired
    | TimerFired
    | CancelAsked
    | SpokeRevoked
    | HubRestored
)
