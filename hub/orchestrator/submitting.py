"""What an operation asks of the orchestrator: begin a task, show its plan, cancel it, try it again.

All but `plan_shown` run inside the caller's `write_tx` and write no event row for the asking; after the commit the
outbox is woken by itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hub.errors import Conflict
from hub.infrastructure.host_keys import SCAN_STEP
from hub.infrastructure.machine_policies import policy_of
from hub.orchestrator import missed, plan_inputs
from hub.orchestrator.admitting import Place, refuse_endless
from hub.orchestrator.check_results import CHECK_STEP, ROUTINE, SCRIPT_STEP
from hub.orchestrator.events import CancelAsked
from hub.orchestrator.plan import DeploymentPlan, again
from hub.orchestrator.plan_codec import shown
from hub.orchestrator.planner import PlanLimits, StepInput, left_behind, plan
from hub.orchestrator.steering import Steering
from hub.orchestrator.task_store import TaskStore
from hub.projects.concurrency import key_of
from hub.states import TASK_ENDED, TaskKind, TaskState
from hub.storage.models import Deployment, Environment, Project, Release, Target, Task, User, new_row_id
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.job import INSTALL, PREVIEW, SWITCH
from runner.contract.step_kind import StepKind
from wire.crash import crash_point
from wire.messages import Op

_CHECK_PICKUP_S = 60
_SCRIPT_S = 300
_TITLE_MAX = 250
_ANYWHERE = Place()


class Asking(Protocol):
    """What is needed of an operation's context."""

    @property
    def actor(self) -> str: ...
    @property
    def vault(self) -> Vault: ...
    @property
    def seals(self) -> RowSeals: ...
    @property
    def step_kinds(self) -> Mapping[str, StepKind]: ...


@dataclass(frozen=True, slots=True)
class HubAsking:
    """The hub asks of its own accord: what is due, and what a target has missed."""

    vault: Vault
    seals: RowSeals
    step_kinds: Mapping[str, StepKind]
    actor: str = ROUTINE


class Orchestrator:
    """The face that operations see; holds no state of its own."""

    def __init__(
        self,
        store: TaskStore,
        steering: Steering,
        *,
        limits: PlanLimits | None = None,
        new_id: Callable[[], str] = new_row_id,
    ) -> None:
        self._store = store
        self._steering = steering
        self._limits = limits or PlanLimits()
        self._new_id = new_id

    def submit_deployment(
        self,
        context: Asking,
        *,
        release: Release,
        environment: Environment,
        variables: Mapping[str, str] | None = None,
        only_targets: Iterable[str] | None = None,
        skip_steps: Iterable[str] = (),
        instead_of: str = "Deploy",
        mode: str = INSTALL,
        place: Place = _ANYWHERE,
    ) -> Task:
        """Plan it, store it, and begin it unless it has to wait for its turn.

        Args:
            context: Who asks.
            release: What.
            environment: Where to.
            variables: Values typed for this one.
            only_targets: Ids; None: all.
            skip_steps: Names.
            instead_of: The word with which its title begins.
            mode: SWITCH: go back to it, without its packages.
            place: Where in the queue.

        Raises:
            PlanImpossible: nothing is stored. Conflict: its parent would wait for ever.
        """
        task_id = self._new_id()
        inputs = plan_inputs.for_deployment(
            context,
            task_id,
            release,
            environment,
            variables=variables or {},
            only_targets=only_targets,
            skip_steps=skip_steps,
            limits=self._limits,
            mode=mode,
            kinds=context.step_kinds,
        )
        planned = plan(inputs, self._new_id)
        project, version = planned.project.name, planned.release.version
        title = f"{instead_of} {project} {version} to {environment.name}"
        if mode == SWITCH:
            title = f"Roll {project} back to {version} in {environment.name}"
        task = _task(
            context, task_id, TaskKind.DEPLOYMENT, title, release=release, environment=environment, place=place
        )
        self._begin(task, planned)
        missed.note(task.id, [target.id for target in left_behind(inputs)])
        return task

    def submit_preview(
        self,
        context: Asking,
        *,
        release: Release,
        environment: Environment,
        variables: Mapping[str, str] | None = None,
        only_targets: Iterable[str] | None = None,
        skip_steps: Iterable[str] = (),
        place: Place = _ANYWHERE,
    ) -> Task:
        """Have each target say what a deployment would change in files: no deployment, and nobody waits for it.

        Raises:
            PlanImpossible: as the deployment itself would, or no step has anything to preview.
        """
        task_id = self._new_id()
        inputs = plan_inputs.for_deployment(
            context,
            task_id,
            release,
            environment,
            variables=variables or {},
            only_targets=only_targets,
            skip_steps=skip_steps,
            limits=self._limits,
            mode=PREVIEW,
            kinds=context.step_kinds,
        )
        planned = plan(inputs, self._new_id)
        title = f"Preview {planned.project.name} {planned.release.version} in {environment.name}"
        task = _task(context, task_id, TaskKind.PREVIEW, title, release=release, environment=environment, place=place)
        self._begin(task, planned)
        return task

    def submit_run(
        self,
        context: Asking,
        *,
        script: str,
        shell: str,
        targets: Sequence[Target],
        timeout_s: int | None = None,
        strict: bool = True,
        place: Place = _ANYWHERE,
    ) -> Task:
        """One script on these targets, all at once."""
        task_id = self._new_id()
        kind = context.step_kinds["run-script"]
        step = StepInput(
            name="Script",
            kind=kind.name,
            rolling="100%",
            properties=kind.check({"script": script, "shell": shell} | ({} if strict else {"strict": False})),
            timeout_s=timeout_s,
        )
        inputs = plan_inputs.for_steps(context, task_id, [step], targets, self._limits)
        task = _task(context, task_id, TaskKind.SCRIPT_RUN, f"Script on {_names(targets)}", place=place)
        self._begin(task, plan(inputs, self._new_id))
        return task

    def submit_check(self, context: Asking, target: Target) -> Task:
        """Ask the target's spoke how it is, and then its policy's script.

        Raises:
            SealBroken: the policy was changed outside the hub: its script goes nowhere.
        """
        task_id = self._new_id()
        steps = [StepInput(name=CHECK_STEP, kind="check", timeout_s=_CHECK_PICKUP_S, op=Op.CHECK)]
        policy = policy_of(target)
        if policy.script:
            context.seals.check(policy)
            kind = context.step_kinds["run-script"]
            asked = kind.check({"script": policy.script, "shell": policy.shell})
            steps.append(StepInput(name=SCRIPT_STEP, kind=kind.name, properties=asked, timeout_s=_SCRIPT_S))
        limits = replace(self._limits, pickup_s=_CHECK_PICKUP_S, prepare_s=_CHECK_PICKUP_S)
        inputs = plan_inputs.for_steps(context, task_id, steps, [target], limits)
        task = _task(context, task_id, TaskKind.HEALTH_CHECK, f"Check {target.name}")
        self._begin(task, plan(inputs, self._new_id))
        return task

    def submit_scan(self, context: Asking, target: Target) -> Task:
        """Look which host key an SSH target shows, though it be disabled; nothing is believed, and no one logs in."""
        task_id = self._new_id()
        step = StepInput(name=SCAN_STEP, kind="scan-host-key", timeout_s=_CHECK_PICKUP_S, op=Op.SCAN_HOST_KEY)
        inputs = plan_inputs.for_steps(context, task_id, [step], [target], self._limits, even_disabled=True)
        task = _task(context, task_id, TaskKind.HOST_KEY_SCAN, f"Scan the host key of {target.name}")
        self._begin(task, plan(inputs, self._new_id))
        return task

    def ask_cancel(self, context: Asking, task: Task) -> None:
        """Cancel it; the end state says whether it was confirmed.

        Raises:
            Conflict: it has ended.
        """
        if task.state in TASK_ENDED:
            raise Conflict(f"the task has ended already: {task.state}")
        who = User.get_or_none(User.id == context.actor)
        self._steering.feed({task.id: [CancelAsked(who.name if who else context.actor)]})
        crash_point("cancel.asked")

    def queue_changed(self) -> None:
        """Once this is committed others may begin, and each that waits is told why anew."""
        self._steering.turns.queue_changed()

    def retry(self, context: Asking, task: Task) -> Task:
        """The same plan once more, as a task of its own; how targets are reached is looked up anew.

        Raises:
            Conflict: it has not ended, or nothing is left to try again.
        """
        if task.state not in TASK_ENDED:
            raise Conflict(f"the task has not ended yet: {task.state}")
        former = self._store.plan(task.id)
        if former is None:
            raise Conflict("the task's plan is gone; ask for it anew")
        former = plan_inputs.reached_again(context, former)
        fresh = Task(
            id=self._new_id(),
            kind=task.kind,
            title=task.title,
            state=TaskState.QUEUED,
            project=task.project,
            environment=task.environment,
            release=task.release,
            created_by=context.actor,
            retry_of=task.id,
        )
        self._begin(fresh, again(former, fresh.id, self._new_id))
        missed.go_over(task.id, fresh.id)
        return fresh

    def _begin(self, task: Task, planned: DeploymentPlan) -> None:
        previous = None
        if task.kind is TaskKind.DEPLOYMENT:
            previous = _present_release(task)
            task.concurrency_key = key_of(Project.get_by_id(task.project), Environment.get_by_id(task.environment))
        refuse_endless(task)
        self._steering.begin(task, planned)
        if task.kind is TaskKind.DEPLOYMENT:
            Deployment.insert(
                id=self._new_id(),
                task=task.id,
                project=task.project,
                release=task.release,
                environment=task.environment,
                previous_release=previous,
                rollback=planned.mode == SWITCH,
            ).execute()


def plan_shown(
    context: Any,
    *,
    release: Release,
    environment: Environment,
    variables: Mapping[str, str] | None = None,
    only_targets: Iterable[str] | None = None,
    skip_steps: Iterable[str] = (),
    mode: str = INSTALL,
    kinds: Mapping[str, StepKind] | None = None,
    limits: PlanLimits | None = None,
) -> dict[str, Any]:
    """A deployment's plan as people see it; reads only, and needs neither engine nor its keys.

    Raises:
        PlanImpossible: as the deployment itself would.
    """
    inputs = plan_inputs.for_deployment(
        context,
        "",
        release,
        environment,
        variables=variables or {},
        only_targets=only_targets,
        skip_steps=skip_steps,
        limits=limits or PlanLimits(),
        mode=mode,
        kinds=kinds,
    )
    return shown(plan(inputs, new_row_id))


def _task(
    context: Asking,
    task_id: str,
    kind: TaskKind,
    title: str,
    release: Release | None = None,
    environment: Environment | None = None,
    place: Place = _ANYWHERE,
) -> Task:
    """As it will be stored when it begins."""
    return Task(
        id=task_id,
        kind=kind,
        title=title[:_TITLE_MAX],
        state=TaskState.QUEUED,
        project=release.project if release else None,
        environment=environment.id if environment else None,
        release=release.id if release else None,
        created_by=context.actor,
        priority=int(place.priority),
        parent=place.parent or None,
    )


def _present_release(task: Task) -> str | None:
    row = (
        Deployment.select(Deployment.release)
        .join(Task, on=(Deployment.task == Task.id))
        .where(
            Deployment.project == task.project,
            Deployment.environment == task.environment,
            Task.state == TaskState.SUCCEEDED,
        )
        .order_by(Deployment.created_at.desc())
        .tuples()
        .first()
    )
    return str(row[0]) if row else None


def _names(targets: Sequence[Target]) -> str:
    names = [target.name for target in targets]
    return (
        names[0]
        if len(names) == 1
        else f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    )
