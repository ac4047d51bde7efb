"""What the hub's database holds, as far as promises go: shared by its engines, and put back by a restore."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hub.orchestrator.log_records import Cursor
from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.standing import beginning
from hub.states import TASK_ENDED, JobState


@dataclass(slots=True)
class Row:
    """Of the outbox. `life_ms`: how long a command lives; `about`: which job and which of its records an order asks for."""

    kind: str
    spoke: str
    cid: str
    expires_ms: int
    state: str = "waiting"
    attempts: int = 0
    published_ms: int = 0
    not_before_ms: int = 0
    failures: int = 0
    life_ms: int = 0
    about: tuple[str, tuple[tuple[int, int], ...]] | None = None


@dataclass(slots=True)
class HubSession:
    """A later one of a spoke has the higher nonce. `reports`: what the hello said of unfinished jobs."""

    spoke: str
    nonce: int
    reports: tuple[tuple[str, str], ...] = ()
    live: bool = False
    replaced: bool = False
    seq: int = 0
    counter: int = 0
    seen_ms: int = 0


@dataclass(slots=True)
class JobRow:
    spoke: str
    state: JobState = JobState.PLANNED
    records: int | None = None
    ended_ms: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    lines: list[int] = field(default_factory=list)
    sent_frames: int = 0


@dataclass(slots=True)
class Fetch:
    """What is missing of a job's log is looked after."""

    due_ms: int
    deadline_ms: int
    asked: str = ""
    attempts: int = 0
    state: str = "open"


_BEGINS_MS = 1_000_000_000
_KEPT = ("progress", "jobs", "outbox", "timers", "sessions", "issued", "rejected", "revoked", "fetches", "ended_ms")


class Rows:
    """`skew_ms`: what the hub's clock shows more than the world's."""

    def __init__(self, plan: DeploymentPlan) -> None:
        self.plan = plan
        self.progress = beginning(plan)
        self.jobs = {cid: JobRow(job.target.spoke) for step in plan.steps for job in step.jobs for cid in job.attempts}
        self.outbox: list[Row] = []
        self.timers: dict[str, int] = {}
        self.sessions: dict[int, HubSession] = {}
        self.issued: dict[int, tuple[str, str]] = {}
        self.rejected: set[int] = set()
        self.revoked: set[str] = set()
        self.fetches: dict[str, Fetch] = {}
        self.ended_ms = 0
        # What no backup brings back.
        self.skew_ms = _BEGINS_MS
        self.epoch = 1
        self.was_restored = False
        self._frames = 0
        self._orders = 0

    @property
    def is_over(self) -> bool:
        return self.progress.state in TASK_ENDED

    def next_frame(self) -> int:
        self._frames += 1
        return self._frames

    def next_order(self) -> str:
        self._orders += 1
        return f"order {self._orders}"

    def backup(self) -> dict[str, Any]:
        """As it is now."""
        return {name: copy.deepcopy(getattr(self, name)) for name in _KEPT}

    def put_back(self, kept: dict[str, Any]) -> None:
        """As it was then; sessions and what waited are nothing any more, and a new epoch begins."""
        for name in _KEPT:
            setattr(self, name, copy.deepcopy(kept[name]))
        self.sessions = {}
        for row in self.outbox:
            if row.state != "done":
                row.state = "dead"
        self.epoch += 1
        self.was_restored = True

    def unsettled(self, cid: str, kind: str = "") -> Iterator[Row]:
        return (
            row
            for row in self.outbox
            if row.cid == cid and row.state not in ("done", "dead") and kind in ("", row.kind)
        )
