"""Variables and variable sets, as operations.

Whoever writes a value needs the right to every environment in which it held before and will hold after: a value that is
scoped to Production is a change of Production.
"""

from collections.abc import Iterable, Sequence

from hub.operations.body import Body, IfVersion, Line, Name, Nothing, Ref
from hub.operations.context import Context
from hub.operations.operation import Done, JsonObject, Operation, Scope
from hub.operations.sealed_values import Path
from hub.permissions import Permission
from hub.projects import finding, variable_sets, variables
from hub.projects.variables import Owner, ScopeBody, VariableBody
from hub.queries.variables import VariableSetView, VariableView, set_view, view
from hub.storage.models import Project, Variable


class SetProjectVariable(VariableBody):
    project: Ref


class ChangeProjectVariable(VariableBody):
    project: Ref
    variable: Ref
    if_version: IfVersion


class DeleteProjectVariable(Body):
    project: Ref
    variable: Ref


class SetSharedVariable(VariableBody):
    variable_set: Ref


class ChangeSharedVariable(VariableBody):
    variable_set: Ref
    variable: Ref
    if_version: IfVersion


class DeleteSharedVariable(Body):
    variable_set: Ref
    variable: Ref


class CreateVariableSet(Body):
    name: Name
    description: Line = ""


class UpdateVariableSet(Body):
    variable_set: Ref
    name: Name
    description: Line = ""
    if_version: IfVersion


class DeleteVariableSet(Body):
    variable_set: Ref


AnyVariableBody = (
    SetProjectVariable
    | ChangeProjectVariable
    | DeleteProjectVariable
    | SetSharedVariable
    | ChangeSharedVariable
    | DeleteSharedVariable
)


def scopes_of_value(project: str | None, scopes: Iterable[Sequence[str]]) -> tuple[Scope, ...]:
    """Every environment that one of the scopes names; a scope without any reaches all of them."""
    reached: dict[Scope, None] = {}
    for environments in scopes:
        for environment in environments or (None,):
            reached[Scope(project, environment)] = None
    return tuple(reached)


def secret_value(request: JsonObject) -> Iterable[Path]:
    return [("value",)] if request.get("secret") is True else []


def plain(body: VariableBody) -> VariableBody:
    """The value alone, without where it goes."""
    return VariableBody.model_validate(body.model_dump(include=set(VariableBody.model_fields)))


def _owner(body: AnyVariableBody) -> Owner:
    if isinstance(body, SetProjectVariable | ChangeProjectVariable | DeleteProjectVariable):
        return finding.project(body.project)
    return finding.variable_set(body.variable_set)


def _scopes(body: AnyVariableBody) -> tuple[Scope, ...]:
    owner = _owner(body)
    held = [row.scope["environments"] for row in _rows_before(owner, body)]
    wanted = [_environments(body.scope)] if isinstance(body, VariableBody) else []
    return scopes_of_value(owner.id if isinstance(owner, Project) else None, [*held, *wanted])


def _rows_before(owner: Owner, body: AnyVariableBody) -> list[Variable]:
    if isinstance(body, SetProjectVariable | SetSharedVariable):
        return []
    return [variables.get(owner, body.variable)]


def _environments(scope: ScopeBody) -> list[str]:
    return [finding.environment(ref, "scope.environments").id for ref in scope.environments]


def _set(context: Context, body: SetProjectVariable | SetSharedVariable) -> Done:
    owner = _owner(body)
    return _done(owner, variables.set_value(context, owner, plain(body)))


def _change(context: Context, body: ChangeProjectVariable | ChangeSharedVariable) -> Done:
    owner = _owner(body)
    row = variables.get(owner, body.variable)
    return _done(owner, variables.change(context, owner, row, plain(body), body.if_version))


def _delete(_: Context, body: DeleteProjectVariable | DeleteSharedVariable) -> Done:
    owner = _owner(body)
    row = variables.get(owner, body.variable)
    row.delete_instance()
    done = _done(owner, row)
    return Done(Nothing(), done.object, project=done.project, detail=done.detail)


def _done(owner: Owner, row: Variable) -> Done:
    detail = {"name": row.name, "secret": row.secret, "scope": row.scope, "version": row.version, "owner": owner.id}
    return Done(
        view(row), f"variable:{row.id}", project=owner.id if isinstance(owner, Project) else None, detail=detail
    )


def _create_set(_: Context, body: CreateVariableSet) -> Done:
    row = variable_sets.create(body.name, body.description)
    return Done(set_view(row), f"variable-set:{row.id}", detail={"name": row.name})


def _update_set(_: Context, body: UpdateVariableSet) -> Done:
    row = variable_sets.update(
        finding.variable_set(body.variable_set),
        name=body.name,
        description=body.description,
        if_version=body.if_version,
    )
    return Done(set_view(row), f"variable-set:{row.id}", detail={"name": row.name})


def _delete_set(_: Context, body: DeleteVariableSet) -> Done:
    row = finding.variable_set(body.variable_set)
    variable_sets.delete(row)
    return Done(Nothing(), f"variable-set:{row.id}", detail={"name": row.name})


OPERATIONS = (
    Operation(
        "variable.set",
        "Set the value of a name in a scope",
        SetProjectVariable,
        VariableView,
        Permission.VARIABLE_EDIT,
        _set,
        _scopes,
        status=201,
        secrets=secret_value,
    ),
    Operation(
        "variable.update",
        "Change one value, its name and scope included",
        ChangeProjectVariable,
        VariableView,
        Permission.VARIABLE_EDIT,
        _change,
        _scopes,
        secrets=secret_value,
    ),
    Operation(
        "variable.delete",
        "Remove one value",
        DeleteProjectVariable,
        Nothing,
        Permission.VARIABLE_EDIT,
        _delete,
        _scopes,
        status=204,
    ),
    Operation(
        "shared-variable.set",
        "Set the value of a name in a variable set",
        SetSharedVariable,
        VariableView,
        Permission.VARIABLE_SET_EDIT,
        _set,
        _scopes,
        status=201,
        secrets=secret_value,
    ),
    Operation(
        "shared-variable.update",
        "Change one value of a variable set",
        ChangeSharedVariable,
        VariableView,
        Permission.VARIABLE_SET_EDIT,
        _change,
        _scopes,
        secrets=secret_value,
    ),
    Operation(
        "shared-variable.delete",
        "Remove one value of a variable set",
        DeleteSharedVariable,
        Nothing,
        Permission.VARIABLE_SET_EDIT,
        _delete,
        _scopes,
        status=204,
    ),
    Operation(
        "variable-set.create",
        "Add a variable set",
        CreateVariableSet,
        VariableSetView,
        Permission.VARIABLE_SET_EDIT,
        _create_set,
        status=201,
    ),
    Operation(
        "variable-set.update",
        "Change a variable set",
        UpdateVariableSet,
        VariableSetView,
        Permission.VARIABLE_SET_EDIT,
        _update_set,
    ),
    Operation(
        "variable-set.delete",
        "Remove a variable set that no project includes",
        DeleteVariableSet,
        Nothing,
        Permission.VARIABLE_SET_EDIT,
        _delete_set,
        status=204,
    ),
)
