"""Reads what everybody knows of every job, after the fact: rows of the hub, journals, spools, the witness, processes."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runner.contract.errors import SpoolDamaged
from runner.contract.spool import CHAIN_START, read_records
from spokes.agent.job_folder import supervisor_of
from tests.chaos.asking import Asked
from tests.chaos.evidence import Case, Evidence, Hub, Journal, Request, Spool
from tests.chaos.fleet import Fleet, reader
from tests.chaos.light import spool_of
from tests.chaos.witness import printed_by

_JOBS = """
SELECT job.id, job.target_name, job.state, job.message, job.started_at, job.result_sha256, job.records, job.chain,
       job.log_next_record, job.log_chain, job.log_state, job.task_id, job.created_at, job.ended_at
FROM job JOIN task ON task.id = job.task_id WHERE task.created_at >= ? AND task.kind IN ('script-run', 'deployment')
"""
_TASKS = "SELECT id, state FROM task WHERE created_at >= ? AND kind IN ('script-run', 'deployment')"


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """From when to when (UTC s) a fault lasted, whom it met, and which jobs by name."""

    owner: str
    began: float
    ended: float
    words: str
    jobs: tuple[str, ...] = ()


@dataclass(slots=True)
class _Shown:
    """What the hub shows that scripts printed, by target, and the targets of which it says that some came late."""

    printed: dict[str, list[str]] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)


class Gathering:
    """Of one fleet, for what was asked for since a moment (UTC ms)."""

    def __init__(self, fleet: Fleet, since_ms: int, spans: Sequence[FaultSpan]) -> None:
        self._fleet = fleet
        self._since_ms = since_ms
        self._spans = spans

    def case(self, asked: Sequence[Asked]) -> Case:
        """All of it."""
        states = self._task_states()
        requests = tuple(
            Request(one.key, one.task, states.get(one.task or "", one.refusal), one.cancelled) for one in asked
        )
        promised = {one.task for one in asked}
        strangers = tuple(task for task in states if task not in promised)
        return Case(tuple(self._jobs()), requests, strangers, tuple(self.residue()))

    def _task_states(self) -> dict[str, str]:
        return dict(self._fleet.rows(_TASKS, self._since_ms))

    def _jobs(self) -> Iterator[Evidence]:
        seen = self._fleet.witness.seen()
        journals = {name: _journal(self._journal_home(name)) for name in self._fleet.names}
        lines: dict[str, _Shown] = {}
        for row in self._fleet.rows(_JOBS, self._since_ms):
            job, target, task = row[0], row[1], row[11]
            if task not in lines:
                lines[task] = self._lines(task)
            yield self._evidence(row, seen.pop(job, Counter()), journals[target].get(job), lines[task])
        # What ran, and is no job of the hub's at all; runs from before we looked are left out.
        known = self._jobs_of_before()
        for job, said in seen.items():
            if job not in known:
                yield Evidence(job, "nobody knows which", said["start"], said["end"])

    def _evidence(self, row: Any, said: Counter[str], journal: Journal | None, shown: _Shown) -> Evidence:
        job, target, state, message, started, digest, records, chain, next_record, log_chain, log_state = row[:11]
        hub = Hub(
            state,
            message=message,
            began=started is not None,
            result_sha256=digest or "",
            records=records,
            chain=chain or "",
            log_next_record=next_record,
            log_chain=log_chain,
            log_state=log_state,
            lines=tuple(shown.printed.get(target, ())),
            told_late=target in shown.late,
        )
        return Evidence(
            job,
            target,
            starts=said["start"],
            ends=said["end"],
            journal=journal,
            spool=self._spool(target, job),
            hub=hub,
            expected=printed_by(job),
            explained=self._explained(target, job, row[12] / 1000, (row[13] or 0) / 1000),
        )

    def _spool(self, target: str, job: str) -> Spool | None:
        if target not in self._fleet.kinds:
            return spool_of(job)[1]
        try:
            data = (self._home(target) / "jobs" / job / "output").read_bytes()
        except FileNotFoundError:
            return None
        try:
            records = read_records(data)
        except SpoolDamaged as error:
            return Spool(0, "", str(error))
        left = len(data) - sum(record.size for record in records)
        fault = f"{left} bytes after its last whole record" if left else ""
        return Spool(len(records), (records[-1].chain if records else CHAIN_START).hex(), fault)

    def _lines(self, task: str) -> _Shown:
        found = _Shown()
        for line in self._fleet.lines(task):
            if line["level"] == "stdout":
                found.printed.setdefault(line["target"], []).append(line["text"])
            elif line["level"] == "info" and line["text"].startswith("late: records "):
                found.late.add(line["target"])
        return found

    def _explained(self, target: str, job: str, began: float, ended: float) -> str:
        """What was done to those who carried it, while it was under way."""
        owners = self._fleet.owners(target)
        return "; ".join(
            span.words
            for span in self._spans
            if job in span.jobs
            or (span.owner in owners and span.began < (ended or span.began + 1) and span.ended > began)
        )

    def _journal_home(self, target: str) -> Path:
        """The ssh spoke's journal lies beside the hub, its job folders on the machine."""
        return self._fleet.home / "spokes" / "ssh" if target == "ssh" else self._home(target)

    def _home(self, target: str) -> Path:
        """Of the job folders."""
        for name, group in self._fleet.light_groups.items():
            if target in group:
                return self._fleet.folder / name / target
        return self._fleet.place(target)

    def _jobs_of_before(self) -> set[str]:
        return {row[0] for row in self._fleet.rows("SELECT id FROM job")}

    # What is left behind

    def residue(self) -> Iterator[str]:
        waiting = "SELECT count(*) FROM outbox WHERE state IN ('waiting', 'held') AND kind IN ('command', 'cancel')"
        timers = "SELECT count(*) FROM timer JOIN task ON task.id = timer.task_id WHERE task.ended_at IS NOT NULL"
        for query, words in (
            (waiting, "commands or cancels in the outbox"),
            (timers, "timers of tasks that have ended"),
        ):
            ((count,),) = self._fleet.rows(query)
            if count:
                yield f"{count} {words}"
        for kind in self._fleet.kinds:
            yield from self._left_on(kind)

    def _left_on(self, kind: str) -> Iterator[str]:
        folders = [folder for folder in (self._home(kind) / "jobs").glob("*") if folder.is_dir()]
        for folder in folders:
            if (folder / "work").exists():
                yield f"{folder.name} on {kind} has its work folder"
            supervisor = supervisor_of(folder)
            process = supervisor.open() if supervisor is not None else None
            if process is not None:
                os.close(process)
                yield f"{folder.name} on {kind} has its supervisor"
        names = {folder.name for folder in folders}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                job = process.environ().get("MANYARM_JOB", "")
                if job in names and process.status() != psutil.STATUS_ZOMBIE:
                    yield f"process {process.pid} ({process.name()}) of {job} on {kind}"


def _journal(home: Path) -> dict[str, Journal]:
    if not (home / "journal.db").exists():
        return {}
    with closing(reader(home / "journal.db")) as rows:
        found = rows.execute("SELECT cid, state, result, result_sha256, reported_at FROM command").fetchall()
    return {
        cid: Journal(state, json.loads(result)["state"] if result else "", digest, reported=reported is not None)
        for cid, state, result, digest, reported in found
    }
