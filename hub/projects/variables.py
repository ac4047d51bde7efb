"""Variables of projects and of variable sets: their scope, their secrecy, and which value wins where.

A secret's value is sealed in its row under the engine's key; nothing outside the engine can read it back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.operations.body import Body, Line, RefList, RoleList
from hub.projects import finding, projects
from hub.states import VariableOwner
from hub.storage.models import Environment, Project, Target, Variable, VariableSet
from runner.contract import variables as contract
from wire.secret import Secret

Owner = Project | VariableSet
ScopeJson = dict[str, list[str]]

# Shorter than this it cannot be masked without shredding every log (security.md 3i).
MIN_SECRET_LENGTH = 4
DIMENSIONS = ("environments", "targets", "roles", "steps")

VariableName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_.:\-\[\]]*$")
]
Value = Annotated[str, StringConstraints(max_length=64 * 1024)]
StepName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class ScopeBody(Body):
    """Where a value holds; a dimension that is left out does not restrict."""

    environments: RefList = Field(default_factory=list)
    targets: RefList = Field(default_factory=list)
    roles: RoleList = Field(default_factory=list)
    steps: Annotated[list[StepName], Field(max_length=100)] = Field(default_factory=list)


class VariableBody(Body):
    """One value. A secret without a value keeps the one that is stored under the same name and scope."""

    name: VariableName
    value: Value | None = None
    secret: bool = False
    scope: ScopeBody = Field(default_factory=ScopeBody)
    description: Line = ""
    expose_env: Annotated[bool, Field(description="Also an environment variable of scripts: any child reads it.")] = (
        False
    )
    value_from_env: Annotated[Line, Field(description="Where the client takes the value from; not kept.")] = ""

    @model_validator(mode="after")
    def _a_value(self) -> "VariableBody":
        if not self.secret and self.value is None:
            raise ValueError("expected a value; only a secret may keep its old one")
        if self.secret and self.value is not None and len(self.value) < MIN_SECRET_LENGTH:
            raise ValueError(f"expected at least {MIN_SECRET_LENGTH} characters: a shorter secret cannot be masked")
        return self


VariableList = Annotated[list[VariableBody], Field(max_length=2000)]


@dataclass(frozen=True, slots=True)
class Explained:
    """Which row wins, and why each other loses; `winner` is None where none holds."""

    winner: Variable | None
    losers: tuple[tuple[Variable, str], ...]
    sources: dict[str, str]


def of(owner: Owner) -> list[Variable]:
    """By name, then in the order in which they were written."""
    return list(
        Variable.select()
        .where((Variable.owner_kind == _kind(owner)) & (Variable.owner == owner.id))
        .order_by(Variable.name, Variable.created_at, Variable.id)
    )


def get(owner: Owner, variable_id: str) -> Variable:
    row = Variable.get_or_none((Variable.id == variable_id) & (Variable.owner == owner.id))
    if row is None:
        raise NotFound(f"no variable {variable_id!r} here")
    return row


def set_value(context: Acting, owner: Owner, body: VariableBody) -> Variable:
    """Create the value of this name and scope, or replace it."""
    scope = stored_scope(body.scope)
    row = _same_place(owner, body.name, scope)
    if row is None:
        return _insert(context, owner, body, scope)
    return _replace(context, row, body, scope)


def change(context: Acting, owner: Owner, row: Variable, body: VariableBody, if_version: int) -> Variable:
    """Replace one row, its name and scope included."""
    finding.check_version(row, if_version)
    scope = stored_scope(body.scope)
    other = _same_place(owner, body.name, scope)
    if other is not None and other.id != row.id:
        raise Conflict(f"{body.name} has a value with this scope already", field="scope")
    return _replace(context, row, body, scope)


def replace_all(context: Acting, owner: Owner, bodies: Sequence[VariableBody], at: str = "variables") -> None:
    """Make these the values of the owner, and no others."""
    kept: set[str] = set()
    for index, body in enumerate(bodies):
        try:
            row = set_value(context, owner, body)
        except (Invalid, NotFound) as error:
            raise Invalid(error.detail, field=f"{at}.{index}.{error.field or ''}".rstrip(".")) from error
        if row.id in kept:
            raise Invalid(f"{body.name} stands twice with the same scope", field=f"{at}.{index}")
        kept.add(row.id)
    for row in of(owner):
        if row.id not in kept:
            row.delete_instance()


def stored_scope(scope: ScopeBody) -> ScopeJson:
    """Ids of environments and targets, so that renaming one changes nothing; names of roles and steps."""
    environments = {str(finding.environment(ref, "scope.environments").id) for ref in scope.environments}
    targets = {
        str(finding.find(Target, ref, "target", names=(Target.name,), field="scope.targets").id)
        for ref in scope.targets
    }
    return {
        "environments": sorted(environments),
        "targets": sorted(targets),
        "roles": sorted(set(scope.roles)),
        "steps": sorted(set(scope.steps)),
    }


def written_scope(scope: ScopeJson) -> ScopeJson:
    """Names in place of ids, and only the dimensions that restrict."""
    environments = {row.id: row.name for row in Environment.select().where(Environment.id << scope["environments"])}
    targets = {row.id: row.name for row in Target.select().where(Target.id << scope["targets"])}
    named = {
        "environments": sorted(environments.get(found, found) for found in scope["environments"]),
        "targets": sorted(targets.get(found, found) for found in scope["targets"]),
        "roles": scope["roles"],
        "steps": scope["steps"],
    }
    return {dimension: names for dimension, names in named.items() if names}


def reachable(project: Project) -> list[tuple[Variable, str, int]]:
    """Every value that a project sees, with its source for people and its nearness: its own first, then its sets'."""
    found = [(row, "project", 0) for row in of(project)]
    for nearness, included in enumerate(projects.sets_of(project), start=1):
        found += [(row, f"set {included.name}", nearness) for row in of(included)]
    return found


def explain(project: Project, name: str, where: contract.Context) -> Explained:
    """Which value of a name wins in a place, and why every other loses. Ids of environment and target in `where`."""
    rows = [(row, source, near) for row, source, near in reachable(project) if row.name.casefold() == name.casefold()]
    candidates = [
        contract.Candidate(row, scope_of(row.scope), source=source, nearness=near) for row, source, near in rows
    ]
    resolution = contract.resolve(candidates, where)
    return Explained(
        winner=resolution.winner.value if resolution.winner else None,
        losers=tuple((loser.candidate.value, loser.reason) for loser in resolution.losers),
        sources={row.id: source for row, source, _ in rows},
    )


def scope_of(scope: ScopeJson) -> contract.Scope:
    return contract.Scope(**{dimension: frozenset(scope[dimension]) for dimension in DIMENSIONS})


def open_secret(context: Acting, row: Variable) -> Secret:
    """A secret's value; only the engine's vault can."""
    plain = context.vault.open_field("variable", "value_sealed", row.id, row.value_version, row.value_sealed or "")
    return Secret(plain.decode("utf-8"))


def _kind(owner: Owner) -> VariableOwner:
    return VariableOwner.PROJECT if isinstance(owner, Project) else VariableOwner.SET


def _same_place(owner: Owner, name: str, scope: ScopeJson) -> Variable | None:
    return next((row for row in of(owner) if row.name.casefold() == name.casefold() and row.scope == scope), None)


def _insert(context: Acting, owner: Owner, body: VariableBody, scope: ScopeJson) -> Variable:
    if body.value is None:
        raise Invalid(f"secret {body.name} has no value yet; expected one", field="value")
    row = Variable(owner_kind=_kind(owner), owner=owner.id, name=body.name, scope=scope)
    _write(context, row, body)
    row.save(force_insert=True)
    return row


def _replace(context: Acting, row: Variable, body: VariableBody, scope: ScopeJson) -> Variable:
    if body.value is None and not row.secret:
        raise Invalid(f"{body.name} was no secret until now; expected a value", field="value")
    if not _differs(context, row, body, scope):
        return row
    row.name, row.scope = body.name, scope
    if body.value is not None:
        row.value_version += 1
    row.version += 1
    _write(context, row, body)
    row.save()
    return row


def _differs(context: Acting, row: Variable, body: VariableBody, scope: ScopeJson) -> bool:
    plain = (row.name, row.scope, row.secret, row.description, row.expose_env)
    if plain != (body.name, scope, body.secret, body.description, body.expose_env):
        return True
    if body.value is None:
        return False
    if row.secret:
        return open_secret(context, row).reveal() != body.value
    return bool(row.value != body.value)


def _write(context: Acting, row: Variable, body: VariableBody) -> None:
    row.secret, row.description, row.expose_env = body.secret, body.description, body.expose_env
    if body.secret and body.value is not None:
        row.value = ""
        row.value_sealed = context.vault.seal_field("variable", "value_sealed", row.id, row.value_version, body.value)
    elif not body.secret:
        row.value, row.value_sealed = body.value or "", None
    context.seals.seal(row)


def changes_between(row: Variable | None, body: VariableBody) -> list[dict[str, Any]]:
    """What would change, secrets named and never shown."""
    if row is None:
        return [{"field": body.name, "from": None, "to": "***" if body.secret else body.value}]
    return [{"field": body.name, "from": shown(row), "to": "***" if body.secret else body.value}]


def shown(row: Variable) -> str:
    return "***" if row.secret else str(row.value)
