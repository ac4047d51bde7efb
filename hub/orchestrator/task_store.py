"""Plans and progress in their rows: a plan is sealed for the engine alone, for what it says will be signed.

Plans never change, so a few are kept opened; progress is kept with the version of its row.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Any, Generic, TypeVar

from hub.orchestrator.plan import DeploymentPlan
from hub.orchestrator.plan_codec import decode_plan, encode_plan
from hub.orchestrator.standing import Progress, decode_progress, encode_progress
from hub.storage.database import is_postgres
from hub.storage.models import Plan as PlanRow
from hub.storage.models import Progress as ProgressRow
from hub.storage.models.table import canonical_json
from hub.storage.prepared import Prepared, hole
from hub.storage.vault import Purpose, Vault

K = TypeVar("K")
V = TypeVar("V")

KEPT = 64

_NEW_PLAN = Prepared(lambda: PlanRow.insert(task=hole("task"), body=hole("body"), sha256=hole("sha256")))
_PLAN = Prepared(lambda: PlanRow.select(PlanRow.body).where(PlanRow.task == hole("task")))
_NEW_PROGRESS = Prepared(lambda: ProgressRow.insert(task=hole("task"), body=hole("body"), version=1))
_VERSION = Prepared(lambda: ProgressRow.select(ProgressRow.version).where(ProgressRow.task == hole("task")))
_BODY = Prepared(lambda: ProgressRow.select(ProgressRow.body).where(ProgressRow.task == hole("task")))
_SAVE = Prepared(
    lambda: ProgressRow.update(body=hole("body"), version=hole("version")).where(ProgressRow.task == hole("task"))
)


class Kept(Generic[K, V]):
    """The last few values, by key; for any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._limit:
                self._values.popitem(last=False)

    def drop(self, key: K) -> None:
        with self._lock:
            self._values.pop(key, None)


class TaskStore:
    """What `advance` needs of one task, from its rows and back."""

    def __init__(self, vault: Vault, kept: int = KEPT) -> None:
        self._vault = vault
        self._plans: Kept[str, DeploymentPlan] = Kept(kept)
        self._progress: Kept[str, tuple[int, Progress]] = Kept(kept)

    def add(self, plan: DeploymentPlan, progress: Progress) -> None:
        """Store a new task's plan and where it stands; inside `write_tx`."""
        encoded = encode_plan(plan)
        sealed = self._vault.seal_block(Purpose.FIELD, _place(plan.task), encoded)
        _NEW_PLAN.run(task=plan.task, body=sealed, sha256=hashlib.sha256(encoded).hexdigest())
        _NEW_PROGRESS.run(task=plan.task, body=_written(progress))
        # Of a transaction that fails nobody knows the task's id.
        self._plans.put(plan.task, plan)

    def plan(self, task_id: str) -> DeploymentPlan | None:
        found = self._plans.get(task_id)
        if found is not None:
            return found
        row = _PLAN.first(task=task_id)
        if row is None:
            return None
        found = decode_plan(self._vault.open_block(Purpose.FIELD, _place(task_id), row[0]))
        self._plans.put(task_id, found)
        return found

    def progress(self, task_id: str) -> tuple[int, Progress] | None:
        """The version of the row and what it says; inside `write_tx` the row is ours until the commit."""
        if is_postgres():
            ProgressRow.select(ProgressRow.version).where(ProgressRow.task == task_id).for_update().tuples().first()
        row = _VERSION.first(task=task_id)
        if row is None:
            return None
        kept = self._progress.get(task_id)
        if kept is not None and kept[0] == row[0]:
            return kept
        ((body,),) = _BODY.tuples(task=task_id)
        found = (int(row[0]), decode_progress(json.loads(body)))
        self._progress.put(task_id, found)
        return found

    def save(self, task_id: str, version: int, progress: Progress) -> None:
        """Store the next state.

        A transaction that fails afterwards leaves a kept state whose version the row may reach with another content,
        so nothing is kept here: the next reader keeps what it read.
        """
        self._progress.drop(task_id)
        _SAVE.run(task=task_id, body=_written(progress), version=version + 1)

    def saved(self, task_id: str, version: int, progress: Progress) -> None:
        """Keep what was committed."""
        self._progress.put(task_id, (version + 1, progress))


def hold_tasks(tasks: Iterable[str]) -> None:
    """Nobody else moves these tasks until the commit; before any row of their jobs is touched.

    Whoever feeds a task takes its progress first, then its jobs. Who begins with jobs, as replies and logs do, takes
    the same first, or two of them wait for one another for ever. On SQLite one writes at a time.
    """
    wanted = sorted(set(tasks))
    if wanted and is_postgres():
        rows: Any = ProgressRow.select(ProgressRow.task).where(ProgressRow.task.in_(wanted))
        rows.order_by(ProgressRow.task).for_update().tuples().execute()


def _written(progress: Progress) -> str:
    return canonical_json(encode_progress(progress))


def _place(task_id: str) -> tuple[str, str]:
    return ("plan", task_id)
