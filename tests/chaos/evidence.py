"""What four independent parties know of one job: the script itself, the spoke's journal, its spool, and the hub."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Journal:
    """A spoke's row. `result` is the state that its result says, "" where none is kept."""

    state: str
    result: str
    result_sha256: str
    reported: bool


@dataclass(frozen=True, slots=True)
class Spool:
    """The file on the target, read from its first byte: how many whole records, the chain value after the last."""

    records: int
    chain: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub's row of a job, and the lines that it shows of what the script printed.

    `told_late`: it says in the log that some of them came after others, for they were fetched again.
    """

    state: str
    message: str = ""
    began: bool = False
    result_sha256: str = ""
    records: int | None = None
    chain: str = ""
    log_next_record: int = 0
    log_chain: str = ""
    log_state: str = ""
    lines: tuple[str, ...] = ()
    told_late: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """One job. `explained` is why its end may be unknown or a failure: what was done to it, "" where nothing was.

    `journal` and `spool` are None where no such thing exists; `expected` is what a whole run prints.
    """

    job: str
    target: str
    starts: int = 0
    ends: int = 0
    journal: Journal | None = None
    spool: Spool | None = None
    hub: Hub | None = None
    expected: tuple[str, ...] = ()
    explained: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request for work, as its caller saw it: the task that was promised, None where no answer ever came."""

    key: str
    task: str | None
    state: str = ""
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """All of a run: its jobs, its requests, what is left behind, and what the hub holds that nobody asked for."""

    jobs: tuple[Evidence, ...]
    requests: tuple[Request, ...] = ()
    tasks_nobody_asked_for: tuple[str, ...] = ()
    residue: tuple[str, ...] = field(default=())
