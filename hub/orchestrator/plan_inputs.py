"""Reads, once, all that a plan depends on: the release's snapshot, targets and their spokes, packages, the runner.

What carries a seal is checked here; a row that was changed outside the hub takes no part.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from peewee import fn

from hub.errors import SealBroken
from hub.infrastructure.machine_policies import is_whole, policies_of
from hub.orchestrator.endpoints import ACCOUNT_REF, AccountInput, Place, reach
from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.plan import DeploymentPlan, PlannedJob, PlannedStep, PlannedTarget
from hub.orchestrator.planner import PlanInputs, PlanLimits, StepInput, TargetInput, VariableInput, account_of
from hub.orchestrator.task_store import Kept
from hub.packages import references
from hub.projects import releases
from hub.states import Health, PackageKind, SpokeState, TargetKind, Unavailable
from hub.storage.models import (
    Account,
    Environment,
    MachinePolicy,
    PackageVersion,
    Release,
    Spoke,
    Target,
    TargetEnvironment,
    Variable,
)
from hub.storage.prepared import Prepared, PreparedRows, hole, holes
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from runner.contract.job import INSTALL, Named, ReleaseRef
from runner.contract.step_kind import StepKind
from runner.contract.variables import Scope
from wire.messages import PackageRef, PackageRole

_NOWHERE = Named("", "")

_SPOKES = PreparedRows(Spoke, lambda count: Spoke.select().where(Spoke.id.in_(holes("ids", count))), "ids")
# A version never changes; each plan names the newest runner.
_runners: Kept[str, PackageRef] = Kept(4)
_RUNNER = Prepared(
    lambda: (
        PackageVersion.select(PackageVersion.id)
        .where(PackageVersion.kind == hole("kind"))
        .order_by(PackageVersion.created_at.desc(), PackageVersion.id.desc())
        .limit(1)
    )
)


class Reading(Protocol):
    """What gathering needs of whoever asks; a portal's vault and public seals suffice."""

    @property
    def vault(self) -> Vault: ...
    @property
    def seals(self) -> RowSeals: ...


def for_deployment(
    context: Any,
    task: str,
    release: Release,
    environment: Environment,
    *,
    variables: Mapping[str, str],
    only_targets: Iterable[str] | None,
    skip_steps: Iterable[str],
    limits: PlanLimits,
    mode: str = INSTALL,
    kinds: Mapping[str, StepKind] | None = None,
) -> PlanInputs:
    """Everything about one release going to one environment; `kinds` are looked at in other modes than to deploy."""
    snapshot = releases.read_snapshot(context, release)
    project = snapshot["project"]
    steps = tuple(_step(found) for found in snapshot["process"])
    targets = tuple(_minded(context, _rows_in(environment)))
    return PlanInputs(
        task=task,
        project=Named(project["id"], project["name"]),
        release=ReleaseRef(release.id, snapshot["version"]),
        environment=Named(environment.id, environment.name),
        steps=steps,
        targets=targets,
        hub_targets=tuple(_usable(context, Target.select().where(Target.kind == TargetKind.LOCAL))),
        runner=newest_runner(context.vault),
        variables=tuple(_variables(context, snapshot["variables"])),
        overrides=dict(variables),
        packages={
            name: references.refs_for(context.vault, found["package_version"])
            for name, found in snapshot["packages"].items()
        },
        accounts=_accounts(context, steps, targets),
        only_targets=None if only_targets is None else frozenset(only_targets),
        skip_steps=frozenset(skip_steps),
        mode=mode,
        modes={name: kind.modes for name, kind in (kinds or {}).items()},
        limits=limits,
    )


def for_steps(
    context: Reading,
    task: str,
    steps: Sequence[StepInput],
    targets: Iterable[Target],
    limits: PlanLimits,
    *,
    even_disabled: bool = False,
) -> PlanInputs:
    """Steps on the targets named, without a release: the script console, a check."""
    found = tuple(_usable(context, targets, even_disabled=even_disabled))
    return PlanInputs(
        task=task,
        project=_NOWHERE,
        release=ReleaseRef("", ""),
        environment=_NOWHERE,
        steps=tuple(steps),
        targets=found,
        runner=newest_runner(context.vault),
        accounts=_accounts(context, steps, found),
        limits=limits,
    )


def reached_again(context: Reading, former: DeploymentPlan) -> DeploymentPlan:
    """The plan with endpoints and accounts as they are now: a host key that was confirmed since holds, the old one not.

    Raises:
        PlanImpossible: a target cannot be reached any more.
    """
    reached = {job.target.id for step in former.steps for job in step.jobs if job.target.endpoint}
    if not reached:
        return former
    targets = {found.id: found for found in _usable(context, Target.select().where(Target.id.in_(list(reached))))}
    ids = {str(found.endpoint["account"]) for found in targets.values() if found.endpoint.get("account")}
    accounts = _accounts_named(context, ids, {account_of(step.properties) for step in former.steps} - {""})

    def present(step: PlannedStep, job: PlannedJob) -> PlannedJob:
        if job.target.id not in reached:
            return job
        found = targets.get(job.target.id)
        if found is None or found.unusable:
            raise PlanImpossible(f"target {job.target.name!r}: {found.unusable if found else 'it is gone'}")
        place = Place(found.name, found.kind, found.endpoint)
        now = reach(place, step.op, account_of(step.properties), accounts, former.environment.id)
        kept = {name: ref for name, ref in job.secrets.items() if not ref.startswith(ACCOUNT_REF)}
        target = PlannedTarget(found.id, found.name, found.spoke, now.endpoint)
        return replace(job, target=target, secrets={**kept, **now.secrets})

    steps = (
        replace(step, batches=tuple(tuple(present(step, job) for job in batch) for batch in step.batches))
        for step in former.steps
    )
    return replace(former, steps=tuple(steps))


def newest_runner(vault: Vault) -> PackageRef | None:
    """The runner that new plans name; None before the engine has stored one."""
    row = _RUNNER.first(kind=PackageKind.RUNNER)
    if row is None:
        return None
    found = _runners.get(row[0])
    if found is None:
        found = references.refs_for(vault, row[0], role=PackageRole.RUNNER)
        _runners.put(row[0], found)
    return found


def _step(found: Mapping[str, Any]) -> StepInput:
    return StepInput(
        name=found["name"],
        kind=found["kind"],
        on=found["on"],
        roles=tuple(found["roles"]),
        environments=tuple(found["environments"]),
        rolling=found["rolling"],
        package=found["package"] or "",
        properties=found["properties"],
        retries=found["retries"],
        timeout_s=found["timeout_s"],
        when=found["when"],
        on_unknown=found["on_unknown"],
        isolation=found["isolation"],
    )


def _rows_in(environment: Environment) -> list[Target]:
    rows = Target.select().join(TargetEnvironment, on=(TargetEnvironment.target == Target.id))
    return list(rows.where(TargetEnvironment.environment == environment.id))


def _minded(context: Reading, rows: Sequence[Target]) -> list[TargetInput]:
    """With what their policies say of targets that are away."""
    policies = policies_of(rows)
    return [
        found if found.unusable else _by_policy(context, found, row, policies[row.id])
        for found, row in zip(_usable(context, rows), rows, strict=True)
    ]


def _by_policy(context: Reading, found: TargetInput, row: Target, policy: MachinePolicy) -> TargetInput:
    if not is_whole(context.seals, policy):
        return replace(found, unusable=f"its machine policy {policy.name!r} was changed outside the hub")
    if policy.unavailable is Unavailable.WAIT:
        return replace(found, pickup_s=policy.wait_s)
    if row.health is not Health.UNAVAILABLE:
        return found
    why = f"is unavailable ({row.health_reason}), and its policy {policy.name!r}"
    if policy.unavailable is Unavailable.FAIL:
        return replace(found, stops=f"{why} lets no deployment begin without it")
    later = "; it catches up when it is back" if policy.catch_up else ""
    return replace(found, unusable=f"it {why} skips it{later}", catches_up=policy.catch_up)


def _usable(context: Reading, targets: Iterable[Target], *, even_disabled: bool = False) -> list[TargetInput]:
    rows = list(targets)
    spokes = {spoke.id: spoke for spoke in _SPOKES.all(ids=[row.spoke for row in rows])}
    return [
        TargetInput(
            id=row.id,
            name=row.name,
            spoke=row.spoke or "",
            roles=frozenset(row.roles),
            unusable=_why_not(context, row, spokes.get(row.spoke), even_disabled=even_disabled),
            kind=row.kind,
            endpoint=row.endpoint,
        )
        for row in rows
    ]


def _why_not(context: Reading, target: Target, spoke: Spoke | None, *, even_disabled: bool = False) -> str:
    if target.disabled_at is not None and not even_disabled:
        return f"it is disabled: {target.disabled_reason}" if target.disabled_reason else "it is disabled"
    if spoke is None:
        return "no spoke serves it"
    if spoke.state is SpokeState.PENDING:
        return "its spoke waits for approval"
    if spoke.state is SpokeState.REVOKED:
        return "its spoke is not trusted any more"
    try:
        context.seals.check(target)
        context.seals.check(spoke)
    except SealBroken as error:
        return error.detail
    return ""


def _accounts(context: Reading, steps: Iterable[StepInput], targets: Iterable[TargetInput]) -> dict[str, AccountInput]:
    """Those that targets name (by id) or steps (by id or name); by id and by lower-case name."""
    ids = {str(target.endpoint["account"]) for target in targets if target.endpoint.get("account")}
    return _accounts_named(context, ids, {account_of(step.properties) for step in steps} - {""})


def _accounts_named(context: Reading, ids: set[str], named: set[str]) -> dict[str, AccountInput]:
    if not ids and not named:
        return {}
    same = Account.id.in_([*ids, *named]) | fn.LOWER(Account.name).in_([name.lower() for name in named])
    found = [_account(context, row) for row in Account.select().where(same)]
    return dict(itertools.chain.from_iterable(((each.name.lower(), each), (each.id, each)) for each in found))


def _account(context: Reading, row: Account) -> AccountInput:
    unusable = ""
    try:
        context.seals.check(row)
    except SealBroken as error:
        unusable = error.detail
    return AccountInput(
        id=row.id,
        name=row.name,
        kind=row.kind,
        fields=row.fields,
        secrets=tuple(sorted(row.secrets_sealed)),
        environments=frozenset(row.environments),
        unusable=unusable,
    )


def _variables(context: Reading, found: Iterable[Mapping[str, Any]]) -> list[VariableInput]:
    frozen = list(found)
    secret_ids = [variable["id"] for variable in frozen if variable["secret"]]
    rows = {row.id: row for row in Variable.select().where(Variable.id.in_(secret_ids))}
    present = {row_id for row_id, row in rows.items() if row.value_sealed is not None and context.seals.holds(row)}
    return [
        VariableInput(
            name=variable["name"],
            value="" if variable["secret"] else variable["value"],
            secret_row=variable["id"] if variable["secret"] else "",
            missing=bool(variable["secret"]) and variable["id"] not in present,
            expose_env=variable["expose_env"],
            scope=Scope(**{dimension: frozenset(names) for dimension, names in variable["scope"].items()}),
            source=variable["source"],
            nearness=variable["nearness"],
        )
        for variable in frozen
    ]
