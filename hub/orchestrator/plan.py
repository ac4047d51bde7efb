"""PURE. A complete plan as data: what a task will do, on which machines, in which order, decided before anything moves.

    plan > steps > batches (rolling windows, one after the other) > jobs (one target each) > attempts (ids)

What the jobs of a step share stands in the step, once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from hub.orchestrator.states import Condition
from runner.contract.job import INSTALL, SWITCH, Job, JobPackage, Named, ReleaseRef, StepRef
from wire.canonical import JsonObject, JsonValue
from wire.messages import Limits, Op, PackageRef

ENDPOINT_SECRETS = "Manyarm.Endpoint."  # For the ssh spoke alone; the runner is never told of them.


@dataclass(frozen=True, slots=True)
class PlannedTarget:
    """`endpoint`: what its spoke needs to know to reach it or to act on it; empty where the spoke stands on it."""

    id: str
    name: str
    spoke: str
    endpoint: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One step on one target. `attempts`: the id (cid) of each attempt, all made with the plan.

    `variables` and `secrets` are those that hold for this target alone; `secrets` names rows, never values: a
    variable's by its id, a field of an account as `account:<id>:<field>`. `pickup_s`: as long as the target's policy
    waits for it; 0: as long as the step's says.
    """

    attempts: tuple[str, ...]
    step: int
    target: PlannedTarget
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    expose_env: tuple[str, ...] = ()
    pickup_s: int = 0

    @property
    def id(self) -> str:
        return self.attempts[0]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """`pickup_s`: how long a spoke may take to accept; `prepare_s`: from there to the start (packages are fetched).

    `op`: what the command asks for; only `run_job` takes packages and a runner. `mode`: what the runner does with it;
    a switch is told of its package and gets none.
    """

    index: int
    name: str
    kind: str
    batches: tuple[tuple[PlannedJob, ...], ...]
    limits: Limits
    condition: Condition = Condition.SUCCESS
    properties: Mapping[str, JsonValue] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    expose_env: tuple[str, ...] = ()
    package: str = ""
    isolation: str = ""
    retries: int = 0
    on_unknown: str = "fail"
    grace_s: int = 10
    pickup_s: int = 900
    prepare_s: int = 600
    run_as: str = ""
    op: str = Op.RUN_JOB
    mode: str = INSTALL

    @property
    def jobs(self) -> Iterator[PlannedJob]:
        return (job for batch in self.batches for job in batch)


@dataclass(frozen=True)
class DeploymentPlan:
    """`packages` is by manifest id; `runner` and the `package` of each step name one of them. Indexed, so no slots.

    `mode`: what was asked for; a step that does not know it may be there in another.
    """

    task: str
    project: Named
    release: ReleaseRef
    environment: Named
    steps: tuple[PlannedStep, ...]
    packages: Mapping[str, PackageRef]
    runner: str
    warnings: tuple[str, ...] = ()
    deadline_s: int = 24 * 3600
    mode: str = INSTALL

    @cached_property
    def attempts(self) -> Mapping[str, tuple[PlannedJob, int]]:
        """By id of an attempt: its job, and which attempt (from 1) it is."""
        return {
            cid: (job, number)
            for step in self.steps
            for job in step.jobs
            for number, cid in enumerate(job.attempts, start=1)
        }

    def step_of(self, job: PlannedJob) -> PlannedStep:
        return self.steps[job.step]

    def pickup_of(self, job: PlannedJob) -> int:
        """Seconds that its spoke may take to accept it."""
        return job.pickup_s or self.step_of(job).pickup_s

    def packages_of(self, step: PlannedStep) -> tuple[PackageRef, ...]:
        """What a target needs for the step: the runner, then the step's package unless it lies there already."""
        if step.op != Op.RUN_JOB:
            return ()
        wanted = (self.runner, step.package) if step.package and step.mode != SWITCH else (self.runner,)
        return tuple(self.packages[manifest] for manifest in wanted)

    def secrets_of(self, job: PlannedJob) -> dict[str, str]:
        """Ids of the rows that hold the values, by name."""
        return {**self.step_of(job).secrets, **job.secrets}

    def job(self, cid: str) -> Job:
        """What the runner is told of one attempt, without outputs of earlier steps."""
        planned, number = self.attempts[cid]
        step = self.step_of(planned)
        return Job(
            task=self.task,
            step=StepRef(step.name, step.kind),
            attempt=number,
            target=Named(planned.target.id, planned.target.name),
            environment=self.environment,
            project=self.project,
            release=self.release,
            properties=dict(step.properties),
            variables=self._variables(planned),
            secret_names=tuple(told_names(self.secrets_of(planned))),
            expose_env=tuple(sorted({*step.expose_env, *planned.expose_env})),
            package=self._package(step),
            isolation=step.isolation,
            grace_s=step.grace_s,
            endpoint=planned.target.endpoint,
            mode=step.mode,
        )

    def job_json(self, cid: str) -> JsonObject:
        """`job(cid)` as JSON: the same, without a deep copy of what all jobs of a step share."""
        planned, number = self.attempts[cid]
        endpoint = planned.target.endpoint
        return {
            **self._step_json[planned.step],
            "attempt": number,
            "target": {"id": planned.target.id, "name": planned.target.name},
            "variables": dict(self._variables(planned)),
            "secret_names": [*told_names(self.secrets_of(planned))],
            "expose_env": [*sorted({*self.step_of(planned).expose_env, *planned.expose_env})],
            **({"endpoint": endpoint} if endpoint else {}),
        }

    @cached_property
    def _step_json(self) -> tuple[JsonObject, ...]:
        return tuple(_without_endpoint(self.job(next(step.jobs).id).to_json()) for step in self.steps)

    def _variables(self, planned: PlannedJob) -> dict[str, str]:
        target = {"Manyarm.Target.Id": planned.target.id, "Manyarm.Target.Name": planned.target.name}
        return {**self.step_of(planned).variables, **planned.variables, **target}

    def _package(self, step: PlannedStep) -> JobPackage | None:
        if not step.package:
            return None
        ref = self.packages[step.package]
        return JobPackage(ref.package, ref.version, ref.extension, ref.manifest_id, ref.sha256)


def told_names(secrets: Iterable[str]) -> list[str]:
    """The names of those secrets that the runner gets to know."""
    return sorted(name for name in secrets if not name.startswith(ENDPOINT_SECRETS))


def again(plan: DeploymentPlan, task: str, new_id: Callable[[], str]) -> DeploymentPlan:
    """The same plan for another task, with fresh ids."""
    steps = tuple(
        replace(
            step,
            batches=tuple(
                tuple(replace(job, attempts=tuple(new_id() for _ in job.attempts)) for job in batch)
                for batch in step.batches
            ),
        )
        for step in plan.steps
    )
    return replace(plan, task=task, steps=steps)


def _without_endpoint(job: JsonObject) -> JsonObject:
    return {name: value for name, value in job.items() if name != "endpoint"}
