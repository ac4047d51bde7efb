"""PURE. From what was asked and what there is: the whole plan, or one sentence that says why there can be none.

    steps of the release > their targets (environment, roles, enabled, trusted) > batches > variables of each target

A step on several targets rolls in batches of a quarter of them, rounded up, unless it says otherwise.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hub.orchestrator.endpoints import ACCOUNT_SECRETS, AccountInput, Place, reach
from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.plan import ENDPOINT_SECRETS, DeploymentPlan, PlannedJob, PlannedStep, PlannedTarget
from hub.orchestrator.states import Condition
from hub.states import TargetKind
from runner.contract.job import INSTALL, PREVIEW, SWITCH, Named, ReleaseRef
from runner.contract.variables import Candidate, Context, Scope, resolve
from wire.canonical import JsonValue
from wire.messages import Limits, Op, PackageRef

DEFAULT_ROLLING = "25%"
PREVIEW_S = 600
_FETCHED_BYTES_A_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class StepInput:
    """One step of a release's process, as its snapshot has it. `package` is a package id or ""; `mode` the runner's."""

    name: str
    kind: str
    on: str = "targets"
    roles: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    rolling: int | str | None = None
    package: str = ""
    properties: Mapping[str, JsonValue] = field(default_factory=dict)
    retries: int = 0
    timeout_s: int | None = None
    when: str = Condition.SUCCESS
    on_unknown: str = "fail"
    isolation: str = ""
    op: str = Op.RUN_JOB
    mode: str = INSTALL


@dataclass(frozen=True, slots=True)
class TargetInput:
    """A machine in the environment. `unusable`: why no work goes there, in words; "" where it may.

    `endpoint` as its row has it. `stops`: why no deployment to it may be planned at all; `pickup_s`: how long work
    waits for it, 0: as long as for any; `catches_up`: it gets later what it is left out of now.
    """

    id: str
    name: str
    spoke: str
    roles: frozenset[str] = frozenset()
    unusable: str = ""
    kind: TargetKind = TargetKind.POLLING
    endpoint: Mapping[str, JsonValue] = field(default_factory=dict)
    stops: str = ""
    pickup_s: int = 0
    catches_up: bool = False


@dataclass(frozen=True, slots=True)
class VariableInput:
    """One value of a variable. A secret has the id of its row and no value; `missing`: that row is gone."""

    name: str
    value: str = ""
    secret_row: str = ""
    missing: bool = False
    expose_env: bool = False
    scope: Scope = field(default_factory=Scope)
    source: str = "project"
    nearness: int = 0


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """Seconds and bytes that hold where a step does not say."""

    wall_s: int = 3600
    pickup_s: int = 900
    prepare_s: int = 600
    grace_s: int = 10
    deadline_s: int = 24 * 3600
    out_bytes: int = 1024**3
    disk_bytes: int = 10 * 1024**3
    attempts_max: int = 11


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """All that a plan depends on. `packages` by package id; `only_targets` None means all of the environment.

    `accounts`: those that targets and steps name, by id and by lower-case name.

    `overrides` are values typed for this task: they win over every other value of their name.

    `mode`: what is asked for; `modes`: those that each kind knows, looked at where it is no plain deployment.
    """

    task: str
    project: Named
    release: ReleaseRef
    environment: Named
    steps: tuple[StepInput, ...]
    targets: tuple[TargetInput, ...]
    runner: PackageRef | None
    hub_targets: tuple[TargetInput, ...] = ()
    variables: tuple[VariableInput, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, PackageRef] = field(default_factory=dict)
    accounts: Mapping[str, AccountInput] = field(default_factory=dict)
    only_targets: frozenset[str] | None = None
    skip_steps: frozenset[str] = frozenset()
    mode: str = INSTALL
    modes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: PlanLimits = field(default_factory=PlanLimits)


def plan(inputs: PlanInputs, new_id: Callable[[], str]) -> DeploymentPlan:
    """Decide everything.

    Args:
        inputs: What was asked and what there is.
        new_id: Gives the id of one attempt of one job.

    Raises:
        PlanImpossible: nothing would be done, or a step cannot be done as it stands.
    """
    _check_names(inputs)
    wanted = _wanted(inputs)
    if not wanted:
        raise PlanImpossible(_nothing_to_do(inputs))
    if inputs.runner is None and any(step.op == Op.RUN_JOB for step in wanted):
        raise PlanImpossible("the hub has no runner package yet; start the engine once")
    steps = tuple(_step(index, step, inputs, new_id) for index, step in enumerate(wanted))
    refs = [
        *([inputs.runner] if inputs.runner else []),
        *(inputs.packages[step.package] for step in wanted if step.package),
    ]
    return DeploymentPlan(
        task=inputs.task,
        project=inputs.project,
        release=inputs.release,
        environment=inputs.environment,
        steps=steps,
        packages={ref.manifest_id: ref for ref in refs},
        runner=inputs.runner.manifest_id if inputs.runner else "",
        warnings=tuple(_warnings(wanted, inputs)),
        deadline_s=inputs.limits.deadline_s,
        mode=inputs.mode,
    )


def left_behind(inputs: PlanInputs) -> list[TargetInput]:
    """Those that the plan leaves out, and that catch up with it."""
    found = {target.id: target for step in _wanted(inputs) for target in _candidates(step, inputs)}
    return [target for target in found.values() if target.unusable and target.catches_up]


def batch_size(rolling: int | str | None, targets: int) -> int:
    """How many targets a step changes at once: a number, a percentage rounded up, or the default; at least 1."""
    text = str(DEFAULT_ROLLING if rolling is None else rolling).strip()
    digits = text.removesuffix("%").strip()
    if not (digits.isascii() and digits.isdigit() and int(digits) > 0):
        raise PlanImpossible(f"rolling is a number or a percentage above 0, not {text!r}")
    if text.endswith("%"):
        return max(1, math.ceil(targets * min(int(digits), 100) / 100))
    return int(digits)


def _check_names(inputs: PlanInputs) -> None:
    names = [step.name for step in inputs.steps]
    for name in sorted(inputs.skip_steps):
        if name not in names:
            raise PlanImpossible(f"there is no step {name!r} to skip; the steps are: {', '.join(names)}")
    known = {target.id for target in (*inputs.targets, *inputs.hub_targets)}
    if inputs.only_targets is not None and not inputs.only_targets <= known:
        raise PlanImpossible(f"some of the targets asked for are not in {inputs.environment.name or 'this task'}")


def _wanted(inputs: PlanInputs) -> list[StepInput]:
    """The steps that are done, each as the mode has it."""
    return [done for step in _asked(inputs) if (done := _in_mode(step, inputs)) is not None]


def _asked(inputs: PlanInputs) -> list[StepInput]:
    return [step for step in inputs.steps if step.name not in inputs.skip_steps and _holds_here(step, inputs)]


def _holds_here(step: StepInput, inputs: PlanInputs) -> bool:
    return not step.environments or inputs.environment.id in step.environments


def _in_mode(step: StepInput, inputs: PlanInputs) -> StepInput | None:
    """None where the step could only do what is not asked for: change something, or fetch a package.

    Going back is deploying an older release, only that no package travels: what has none runs as in any deployment. A
    preview changes nothing, so nobody waits for a turn.
    """
    if inputs.mode == INSTALL:
        return step
    if inputs.mode not in inputs.modes.get(step.kind, ()):
        return step if inputs.mode == SWITCH and not step.package else None
    if inputs.mode == SWITCH:
        return replace(step, mode=SWITCH)
    when = Condition.ALWAYS if step.when == Condition.SUCCESS else step.when
    timeout_s = min(step.timeout_s or inputs.limits.wall_s, PREVIEW_S)
    return replace(step, mode=PREVIEW, rolling="100%", isolation="", retries=0, when=when, timeout_s=timeout_s)


def _nothing_to_do(inputs: PlanInputs) -> str:
    if not _asked(inputs):
        return f"no step is left to do in {inputs.environment.name}"
    if inputs.mode == SWITCH:
        return "no step of this release can go back without its package; deploy it instead"
    return "no step of this release has anything to preview"


def _warnings(steps: Sequence[StepInput], inputs: PlanInputs) -> Iterator[str]:
    matching = {t.id: t for step in steps for t in _candidates(step, inputs)}
    for target in sorted(matching.values(), key=lambda t: t.name):
        if target.unusable:
            yield f"{target.name} is left out: {target.unusable}"
    left_out = [step.name for step in inputs.steps if step.name in inputs.skip_steps]
    if left_out:
        yield f"skipped as asked: {', '.join(left_out)}"
    for step in _asked(inputs):
        if _in_mode(step, inputs) is None:
            why = "does nothing in a preview" if inputs.mode == PREVIEW else "cannot go back without its package"
            yield f"{step.name} is left out: {step.kind} {why}"


def _step(index: int, step: StepInput, inputs: PlanInputs, new_id: Callable[[], str]) -> PlannedStep:
    if step.when not in set(Condition):
        raise PlanImpossible(f"step {step.name!r}: when is success, failure or always, not {step.when!r}")
    if step.package and step.package not in inputs.packages:
        raise PlanImpossible(f"step {step.name!r}: the release has no version of package {step.package!r}")
    targets = _targets_for(step, inputs)
    values = _Values(step, inputs)
    jobs = [_job(index, step, target, values, inputs, new_id) for target in targets]
    size = batch_size(step.rolling, len(jobs))
    limits = inputs.limits
    wall_s = step.timeout_s or limits.wall_s
    fetched = inputs.packages[step.package].size if step.package and step.mode != SWITCH else 0
    return PlannedStep(
        index=index,
        name=step.name,
        kind=step.kind,
        batches=tuple(tuple(jobs[at : at + size]) for at in range(0, len(jobs), size)),
        limits=Limits(cpu_s=wall_s * 16, wall_s=wall_s, out_bytes=limits.out_bytes, disk_bytes=limits.disk_bytes),
        condition=Condition(step.when),
        properties=step.properties,
        variables=values.shared,
        secrets=values.shared_secrets,
        expose_env=values.shared_env,
        package=inputs.packages[step.package].manifest_id if step.package else "",
        isolation=step.isolation,
        retries=len(jobs[0].attempts) - 1,
        on_unknown=step.on_unknown,
        grace_s=limits.grace_s,
        pickup_s=limits.pickup_s,
        prepare_s=limits.prepare_s + fetched // _FETCHED_BYTES_A_SECOND,
        op=step.op,
        mode=step.mode,
    )


def _targets_for(step: StepInput, inputs: PlanInputs) -> list[TargetInput]:
    """The usable targets of a step, by name; none at all is an error, never an empty success."""
    found = sorted(_candidates(step, inputs), key=lambda target: target.name)
    stopping = next((target for target in found if target.stops and not target.unusable), None)
    if stopping is not None:
        raise PlanImpossible(f"target {stopping.name!r} {stopping.stops}")
    usable = [target for target in found if not target.unusable]
    if usable:
        return usable
    if found:
        reasons = "; ".join(f"{target.name} {target.unusable}" for target in found[:5])
        raise PlanImpossible(f"step {step.name!r}: no target can take work: {reasons}")
    raise PlanImpossible(f"step {step.name!r}: {_nobody(step, inputs)}")


def _candidates(step: StepInput, inputs: PlanInputs) -> list[TargetInput]:
    if step.on == "hub":
        return list(inputs.hub_targets[:1])
    chosen = inputs.only_targets
    return [
        target
        for target in inputs.targets
        if (not step.roles or target.roles & set(step.roles)) and (chosen is None or target.id in chosen)
    ]


def _nobody(step: StepInput, inputs: PlanInputs) -> str:
    if step.on == "hub":
        return "it runs on the hub, and no hub-run spoke is enrolled"
    where = f" in {inputs.environment.name}" if inputs.environment.name else ""
    among = " among the targets asked for" if inputs.only_targets is not None else ""
    role = f" with role {' or '.join(repr(name) for name in step.roles)}" if step.roles else ""
    return f"no target{role}{where}{among}"


def account_of(properties: Mapping[str, JsonValue]) -> str:
    """The account, by id or name, that a step names for itself; "" where it names none."""
    named = properties.get("account")
    return named.strip() if isinstance(named, str) else ""


def _job(
    index: int, step: StepInput, target: TargetInput, values: "_Values", inputs: PlanInputs, new_id: Callable[[], str]
) -> PlannedJob:
    attempts = min(step.retries + 1, inputs.limits.attempts_max)
    place = Place(target.name, target.kind, target.endpoint)
    reached = reach(place, step.op, account_of(step.properties), inputs.accounts, inputs.environment.id)
    variables, secrets, expose_env = values.of(target)
    return PlannedJob(
        attempts=tuple(new_id() for _ in range(attempts)),
        step=index,
        target=PlannedTarget(target.id, target.name, target.spoke, reached.endpoint),
        variables=variables,
        secrets={**secrets, **reached.secrets},
        expose_env=expose_env,
        pickup_s=target.pickup_s,
    )


class _Values:
    """The variables of one step: those that no target can change once, the others target by target."""

    def __init__(self, step: StepInput, inputs: PlanInputs) -> None:
        self._step = step
        self._inputs = inputs
        self._by_name: dict[str, list[Candidate[VariableInput]]] = {}
        typed = (VariableInput(name, value, source="this task") for name, value in inputs.overrides.items())
        others = (variable for variable in inputs.variables if variable.name not in inputs.overrides)
        for variable in (*typed, *others):
            if variable.name.startswith((ENDPOINT_SECRETS, ACCOUNT_SECRETS)):
                continue  # Names that accounts alone may fill.
            candidate = Candidate(variable, variable.scope, variable.source, variable.nearness)
            self._by_name.setdefault(variable.name, []).append(candidate)
        self._own = {
            name
            for name, found in self._by_name.items()
            if any(candidate.scope.targets or candidate.scope.roles for candidate in found)
        }
        shared = self._resolved(
            set(self._by_name) - self._own, Context(inputs.environment.id, "", frozenset(), step.name)
        )
        self.shared, self.shared_secrets, self.shared_env = shared
        self.shared = {**self.shared, **self._built_in()}

    def of(self, target: TargetInput) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
        context = Context(self._inputs.environment.id, target.id, target.roles, self._step.name)
        variables, secrets, expose_env = self._resolved(self._own, context)
        return {**variables, "Manyarm.Target.Roles": ",".join(sorted(target.roles))}, secrets, expose_env

    def _resolved(self, names: set[str], context: Context) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
        variables: dict[str, str] = {}
        secrets: dict[str, str] = {}
        expose_env: list[str] = []
        for name in sorted(names):
            winner = resolve(self._by_name[name], context).winner
            if winner is None:
                continue
            if winner.value.missing:
                raise PlanImpossible(f"the secret variable {name!r} of the release has been deleted since")
            if winner.value.secret_row:
                secrets[name] = winner.value.secret_row
            else:
                variables[name] = winner.value.value
            if winner.value.expose_env:
                expose_env.append(name)
        return variables, secrets, tuple(expose_env)

    def _built_in(self) -> dict[str, str]:
        inputs = self._inputs
        return {
            "Manyarm.Environment.Id": inputs.environment.id,
            "Manyarm.Environment.Name": inputs.environment.name,
            "Manyarm.Project.Id": inputs.project.id,
            "Manyarm.Project.Name": inputs.project.name,
            "Manyarm.Release.Number": inputs.release.version,
            "Manyarm.Deployment.Id": inputs.task,
            "Manyarm.Task.Id": inputs.task,
            "Manyarm.Step.Name": self._step.name,
        }
