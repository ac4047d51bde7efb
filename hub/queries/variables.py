"""Variables: every value but a secret's, and which of them wins where."""

from pydantic import Field

from hub.access.caller import Caller
from hub.errors import NotAllowed, NotFound
from hub.operations.body import Reply
from hub.permissions import Permission
from hub.projects import finding, variables
from hub.projects.variables import Owner
from hub.queries import environments, projects
from hub.queries.listing import Order, Page, Slice, page
from hub.storage.models import Project, Target, Variable, VariableSet
from runner.contract.variables import Context


class ScopeView(Reply):
    environments: list[str] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    roles: list[str] = Field(default_factory=list)
    steps: list[str] = Field(default_factory=list)


class VariableView(Reply):
    """A secret's value is null here and everywhere else outside the engine."""

    id: str
    name: str
    value: str | None
    secret: bool
    scope: ScopeView
    description: str
    expose_env: bool
    version: int


class CandidateView(Reply):
    id: str
    value: str | None
    secret: bool
    scope: ScopeView
    source: str
    reason: str


class ExplainView(Reply):
    """`winner` is null where no value holds; `losers` say why each of them does not."""

    project: str
    name: str
    winner: CandidateView | None
    losers: list[CandidateView]


class VariableSetView(Reply):
    id: str
    name: str
    description: str
    version: int


def view(row: Variable) -> VariableView:
    return VariableView(
        id=row.id,
        name=row.name,
        value=None if row.secret else row.value,
        secret=row.secret,
        scope=ScopeView(**variables.written_scope(row.scope)),
        description=row.description,
        expose_env=row.expose_env,
        version=row.version,
    )


def set_view(row: VariableSet) -> VariableSetView:
    return VariableSetView(id=row.id, name=row.name, description=row.description, version=row.version)


def of_project(caller: Caller, ref: str, part: Slice) -> Page[VariableView]:
    return _of(_readable_project(caller, ref), part)


def one_of_project(caller: Caller, ref: str, variable_id: str) -> VariableView:
    return view(variables.get(_readable_project(caller, ref), variable_id))


def of_set(caller: Caller, ref: str, part: Slice) -> Page[VariableView]:
    _may_read_sets(caller)
    return _of(finding.variable_set(ref), part)


def one_of_set(caller: Caller, ref: str, variable_id: str) -> VariableView:
    _may_read_sets(caller)
    return view(variables.get(finding.variable_set(ref), variable_id))


def sets(caller: Caller, part: Slice) -> Page[VariableSetView]:
    _may_read_sets(caller)
    return page(VariableSet.select(), Order(VariableSet.name, VariableSet.id), part, set_view)


def one_set(caller: Caller, ref: str) -> VariableSetView:
    _may_read_sets(caller)
    return set_view(finding.variable_set(ref))


def explain(caller: Caller, ref: str, name: str, *, environment: str, target: str = "", step: str = "") -> ExplainView:
    """Which value wins in an environment, on a target, in a step."""
    project = _readable_project(caller, ref)
    where = finding.environment(environment, "environment")
    machine = finding.find(Target, target, "target", names=(Target.name,), field="target") if target else None
    found = variables.explain(
        project,
        name,
        Context(
            environment=where.id,
            target=machine.id if machine else "",
            roles=frozenset(machine.roles) if machine else frozenset(),
            step=step,
        ),
    )
    if not found.sources:
        raise NotFound(f"no variable {name!r} in {project.name} or its variable sets", field="name")
    ids = {where.id: where.name} | ({machine.id: machine.name} if machine else {})
    return ExplainView(
        project=project.id,
        name=name,
        winner=_candidate(found.winner, found.sources, "wins") if found.winner else None,
        losers=[_candidate(row, found.sources, _readable(reason, ids)) for row, reason in found.losers],
    )


def _may_read_sets(caller: Caller) -> None:
    """Any project may include a set, so reading one takes the right to read variables in all of them."""
    if not caller.may(Permission.VARIABLE_VIEW):
        raise NotAllowed(f"this needs the permission {Permission.VARIABLE_VIEW} in every project")


def _of(owner: Owner, part: Slice) -> Page[VariableView]:
    return page(Variable.select().where(Variable.owner == owner.id), Order(Variable.name, Variable.id), part, view)


def _readable_project(caller: Caller, ref: str) -> Project:
    row = projects.row_of(caller, ref)
    readable = caller.projects_with(Permission.VARIABLE_VIEW)
    if readable is not None and row.id not in readable:
        raise NotAllowed(f"this needs the permission {Permission.VARIABLE_VIEW}")
    return row


def _candidate(row: Variable, sources: dict[str, str], reason: str) -> CandidateView:
    return CandidateView(
        id=row.id,
        value=None if row.secret else row.value,
        secret=row.secret,
        scope=ScopeView(**variables.written_scope(row.scope)),
        source=sources[row.id],
        reason=reason,
    )


def _readable(reason: str, ids: dict[str, str]) -> str:
    """A reason with names in place of the ids that the rule compares."""
    known = ids | {row.id: row.name for row in Target.select(Target.id, Target.name)}
    known |= environments.names()
    for found, name in known.items():
        reason = reason.replace(found, name)
    return reason
