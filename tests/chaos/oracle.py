"""PURE. Compares what a script wrote down, its spoke's journal, its spool and the hub say of each job: they must agree.

The witness is the script itself, so it is believed: who says otherwise is wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.evidence import Case, Evidence, Hub, Request


class Kind(StrEnum):
    DOUBLED = "doubled"  # Done twice.
    LOST = "lost"  # Promised and not done, done and not known, or never ended.
    FALSE = "false"  # An end that did not happen so.
    DISAGREE = "disagree"  # Spoke and hub tell different ends.
    LOG = "log"  # Output that is not what was printed.
    UNEXPLAINED = "unexplained"  # Unknown or failed, and nothing was done to it.
    RESIDUE = "residue"  # Something is left behind.


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    what: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}: {self.words}"


_OPEN = {"planned", "waiting", "sent", "accepted", "running", ""}
_NEVER_BEGUN = {"expired", "refused", "revoked", "skipped"}
_HONESTLY_BAD = {"unknown", "failed", "timed-out", "expired", "refused"}
_RAN = {"succeeded", "failed", "timed-out", "cancelled"}
_TASK_ENDED = {"succeeded", "failed", "cancelled", "unknown"}


def findings(case: Case) -> list[Finding]:
    """Everything that does not fit; nothing where all agree."""
    found = [one for request in case.requests for one in _of_request(request)]
    found += _asked_twice(case.requests)
    found += [
        Finding(Kind.DOUBLED, f"task {task}", "the hub has it, and nobody asked for it")
        for task in case.tasks_nobody_asked_for
    ]
    found += [one for job in case.jobs for one in of_job(job)]
    found += [Finding(Kind.RESIDUE, "left behind", words) for words in case.residue]
    return found


def of_job(job: Evidence) -> list[Finding]:
    """What does not fit about one job."""
    what = f"job {job.job} on {job.target}"
    return [Finding(kind, what, words) for kind, words in _faults(job)]


def unknown_jobs(case: Case) -> list[Evidence]:
    """Jobs whose end nobody knows, each to be explained."""
    return [job for job in case.jobs if job.hub is not None and job.hub.state == "unknown"]


_Fault = tuple[Kind, str]


def _faults(job: Evidence) -> Iterator[_Fault]:
    if job.starts > 1 or job.ends > 1:
        yield Kind.DOUBLED, f"it started {job.starts} times and ended {job.ends} times"
    if job.hub is None:
        yield Kind.LOST, "it ran, and the hub does not know it"
        return
    if job.hub.state in _OPEN:
        yield Kind.LOST, f"the hub still says {job.hub.state or 'nothing'}"
        return
    yield from _end(job, job.hub)
    yield from _journal(job, job.hub)
    yield from _log(job, job.hub)


def _end(job: Evidence, hub: Hub) -> Iterator[_Fault]:
    """The hub's word against the script's own."""
    if hub.state == "succeeded" and not job.ends:
        yield Kind.LOST, f"the hub says succeeded; the script started {job.starts} times and never came to its end"
    if hub.state in _NEVER_BEGUN and job.starts:
        yield Kind.FALSE, f"the hub says {hub.state}, which is that it never began, and it did"
    if hub.state == "cancelled" and not hub.began and job.starts:
        yield Kind.FALSE, "the hub says cancelled before it began, and it did begin"
    if hub.state in _HONESTLY_BAD and not (job.explained and (hub.message or hub.state == "expired")):
        yield Kind.UNEXPLAINED, f"the hub says {hub.state} ({hub.message or 'without a word'}), and nothing explains it"


def _journal(job: Evidence, hub: Hub) -> Iterator[_Fault]:
    """The hub's word against the spoke's."""
    journal = job.journal
    if journal is None:
        if job.starts:
            yield Kind.LOST, "it ran, and its spoke's journal does not know it"
        return
    if not journal.result:
        yield Kind.DISAGREE, f"its spoke's journal has no end: {journal.state}"
        return
    if not journal.reported:
        yield Kind.RESIDUE, f"its spoke still tries to report {journal.result}"
    # Where the hub gave up waiting, what the spoke says later is told in the log and changes nothing.
    gave_up = hub.state in {"unknown", "expired"} and bool(job.explained)
    if journal.result != hub.state and not gave_up:
        yield Kind.DISAGREE, f"the hub says {hub.state}, its spoke {journal.result}"
    elif journal.result == hub.state and hub.result_sha256 and journal.result_sha256 != hub.result_sha256:
        yield Kind.DISAGREE, f"both say {hub.state}, of results with different bytes"


def _log(job: Evidence, hub: Hub) -> Iterator[_Fault]:
    """The hub's log against the spool on the target, byte for byte by its chain, and line by line where it is whole."""
    if hub.state not in _RAN or not hub.began:
        return
    if hub.log_state != "complete":
        yield Kind.LOG, f"the hub calls its log {hub.log_state}"
    spool = job.spool
    if spool is None:
        yield Kind.LOG, "it ran, and left no spool"
    elif spool.fault:
        yield Kind.LOG, f"its spool is damaged: {spool.fault}"
    elif (hub.log_next_record, hub.log_chain) != (spool.records, spool.chain):
        yield Kind.LOG, f"the hub has {hub.log_next_record} records of {spool.records}, or others than were written"
    if (hub.records, hub.chain) != (hub.log_next_record, hub.log_chain):
        yield Kind.LOG, f"its result speaks of {hub.records} records, its log has {hub.log_next_record}"
    if hub.state == "succeeded" and not _are_the_same(hub, job.expected):
        yield Kind.LOG, f"the hub shows {list(hub.lines)}, printed was {list(job.expected)}"


def _are_the_same(hub: Hub, expected: tuple[str, ...]) -> bool:
    """Every line once; in another order only where the log says that some came late."""
    return hub.lines == expected or (hub.told_late and sorted(hub.lines) == sorted(expected))


def _of_request(request: Request) -> Iterator[Finding]:
    what = f"request {request.key}"
    if request.task is None:
        yield Finding(
            Kind.LOST, what, f"it was refused: {request.state}" if request.state else "nobody ever answered it"
        )
    elif request.state not in _TASK_ENDED:
        yield Finding(Kind.LOST, what, f"its task {request.task} is {request.state or 'nowhere'}")
    elif request.state == "cancelled" and not request.cancelled:
        yield Finding(Kind.FALSE, what, f"its task {request.task} is cancelled, and nobody cancelled it")


def _asked_twice(requests: tuple[Request, ...]) -> Iterator[Finding]:
    tasks: dict[str, str] = {}
    for request in requests:
        if request.task is not None and tasks.setdefault(request.task, request.key) != request.key:
            words = f"it answered the requests {tasks[request.task]} and {request.key}"
            yield Finding(Kind.LOST, f"task {request.task}", words)
