"""The supervisor: one process for one job, which outlives the spoke, relay, broker and hub that asked for it.

It takes its place above everything that the job will start, forks a worker, claims the folder, lets the worker do the
work, writes what is said to the spool (masked), ends the whole tree when told to or when time is up, and writes the
outcome once.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping

from runner.contract.errors import ContractError
from runner.contract.masking import Patterns, mask_text, weakness
from runner.contract.spool import CHAIN_START, Stream
from runner.errors import FolderRefused, RunnerError
from runner.isolation import IsolationLock
from runner.job_folder import JobFile, JobFolder, Outcome
from runner.memory import within_memory
from runner.process_tree import become_subreaper
from runner.readiness import Ready
from runner.spool_writer import SpoolWriter
from runner.supervision import Stop, Supervision

LOCK_POLL_S = 0.1
LOCK_WORD_EVERY_S = 10.0
OUTCOME_PATIENCE_S = 300.0


def supervise(folder: JobFolder, secrets: Mapping[str, str] | None, ready: Ready, *, claimed: bool) -> None:
    """Do the job of a folder, whatever happens, and write its outcome.

    Args:
        folder: Where the job lies.
        secrets: Values by name; None where whoever started us went away before the go.
        ready: From `get_ready`, in this process; used up afterwards.
        claimed: Whether this process has claimed the folder; else it does now, while its worker reads the job.

    Raises:
        FolderRefused: it could not be claimed, so nothing of it ran.
    """
    started_at = _now_ms()
    with closing(ready.worker):
        if secrets is not None:
            ready.worker.tell(folder, secrets, ready.token)
        if not claimed:
            folder.claim()
        _supervise(folder, secrets, ready, started_at)


def _supervise(folder: JobFolder, secrets: Mapping[str, str] | None, ready: Ready, started_at: int) -> None:
    try:
        job_file = folder.read_job()
        if secrets is None:
            raise FolderRefused("the spoke went away before it gave the go; nothing was run")
        _check_secrets(job_file, secrets)
        known = _known(secrets, ready.token)
    except (RunnerError, ContractError) as error:
        _write_outcome(folder, _never_ran(str(error), started_at))
        return
    _supervise_job(folder, job_file, secrets, known, ready, started_at)


def _supervise_job(
    folder: JobFolder, job_file: JobFile, secrets: Mapping[str, str], known: Patterns, ready: Ready, started_at: int
) -> None:
    spool = SpoolWriter(folder.output, job_file.limits.out_bytes)
    stop = Stop(folder)
    supervision = Supervision(folder, job_file, secrets, known, spool, stop, ready.worker, ready.token)
    lock: IsolationLock | None = None
    try:
        become_subreaper()
        _warn_of_weak_secrets(supervision, secrets)
        lock = _isolation(job_file, supervision)
        if not supervision.is_over:
            supervision.run()
    except (RunnerError, ContractError, OSError) as error:
        supervision.fail(str(error))
    finally:
        if lock is not None:
            lock.close()
    with suppress(RunnerError, OSError):
        spool.close()
    _write_outcome(folder, _masked_outcome(supervision, known, started_at))
    supervision.bury_worker()


def _isolation(job_file: JobFile, supervision: Supervision) -> IsolationLock | None:
    """Wait for the job's isolation lock; says for whom it waits, and stops when told to."""
    name = job_file.job.isolation
    if not name:
        return None
    lock = IsolationLock(_home(job_file), name, job_file.cid)
    supervision.folder.set_aside()
    deadline = time.monotonic() + job_file.limits.wall_s
    next_word = 0.0
    while not lock.is_taken():
        now = time.monotonic()
        if now >= next_word:
            supervision.say(Stream.INFO, f"waiting for the isolation lock {name!r}, held by job {lock.holder()}")
            next_word = now + LOCK_WORD_EVERY_S
        supervision.flush()
        if supervision.stop_before_start(now >= deadline, f"the isolation lock {name!r} was not free in time"):
            break
        time.sleep(LOCK_POLL_S)
    return lock


def _home(job_file: JobFile) -> Path:
    home = Path(job_file.home)
    if not home.is_absolute():
        raise FolderRefused(f"the home {job_file.home!r} is no absolute path")
    return home


def _check_secrets(job_file: JobFile, secrets: Mapping[str, str]) -> None:
    missing = sorted(set(job_file.job.secret_names) - set(secrets))
    if missing:
        raise FolderRefused(f"the secrets did not come: {', '.join(missing)}")


def _known(secrets: Mapping[str, str], token: str) -> Patterns:
    """What is masked: every form of every secret, and the token that marks this run's service lines."""
    known = Patterns()
    known.add_as_it_stands(token)
    with within_memory(f"to mask {len(secrets)} secrets of {sum(map(len, secrets.values()))} characters"):
        known.add(*secrets.values())
    return known


def _warn_of_weak_secrets(supervision: Supervision, secrets: Mapping[str, str]) -> None:
    for name, value in sorted(secrets.items()):
        weak = weakness(value)
        if weak:
            supervision.say(Stream.WARNING, f"the secret {name!r} {weak}: it cannot be masked in logs")


def _masked_outcome(supervision: Supervision, known: Patterns, started_at: int) -> Outcome:
    spool = supervision.spool
    return Outcome(
        state=supervision.state,
        exit_code=supervision.exit_code,
        message=mask_text(supervision.message, known),
        outputs=tuple(supervision.outputs),
        artifacts=tuple(supervision.artifacts),
        survivors=tuple(supervision.survivors),
        ended_processes=supervision.ended_processes,
        cancel_confirmed=supervision.cancel_confirmed,
        started_at=started_at,
        ended_at=_now_ms(),
        spool={"records": spool.records, "chain": spool.chain.hex(), "bytes": spool.size},
    )


def _never_ran(message: str, started_at: int) -> Outcome:
    spool: Dict[str, Any] = {"records": 0, "chain": CHAIN_START.hex(), "bytes": 0}
    nothing: List[Dict[str, Any]] = []
    return Outcome(
        state="failed",
        exit_code=None,
        message=message,
        outputs=tuple(nothing),
        artifacts=tuple(nothing),
        survivors=(),
        ended_processes=0,
        cancel_confirmed=None,
        started_at=started_at,
        ended_at=_now_ms(),
        spool=spool,
    )


def _write_outcome(folder: JobFolder, outcome: Outcome) -> None:
    """Write it, and on a full disk try again for a while: without it the job is `unknown`."""
    deadline = time.monotonic() + OUTCOME_PATIENCE_S
    while True:
        try:
            folder.write_outcome(outcome)
            return
        except OSError as error:
            if time.monotonic() >= deadline:
                print(f"the outcome cannot be written: {error}", file=sys.stderr)
                raise
            time.sleep(1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
