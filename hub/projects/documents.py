"""The documents of a project file: what may stand in each kind, and the same documents written from what is stored.

A field that is left out is left as it is; an empty list empties.
"""

from typing import Annotated, Any, Literal

from peewee import fn
from pydantic import BaseModel, Field

from hub.infrastructure.display_names import MAX_LENGTH
from hub.infrastructure.endpoint_body import EndpointBody, ReachedKind
from hub.infrastructure.machine_policies import policy_of
from hub.operations.body import Body, Line, Name, Ref, RefList, RoleList, Text
from hub.projects import lifecycles, projects, targeting, variables
from hub.projects.concurrency import Concurrency, TasksAtOnce
from hub.projects.lifecycles import PhaseList
from hub.projects.process import ProcessBody, as_written
from hub.projects.shells import Shell
from hub.projects.variables import VariableList
from hub.storage.models import Account, Environment, Lifecycle, MachinePolicy, Project, Target, Variable, VariableSet

Document = dict[str, Any]


class EnvironmentDocument(Body):
    kind: Literal["Environment"]
    name: Name
    description: Line | None = None
    position: Annotated[int, Field(ge=0, le=100_000)] | None = None


class LifecycleDocument(Body):
    kind: Literal["Lifecycle"]
    name: Name
    description: Line | None = None
    phases: PhaseList | None = None


class VariableSetDocument(Body):
    kind: Literal["VariableSet"]
    name: Name
    description: Line | None = None
    variables: VariableList | None = None


class AccountDocument(Body):
    """Values of secrets come from where the file is applied; null keeps the one that is there."""

    kind: Literal["Account"]
    name: Name
    type: Literal["ssh-key", "password", "aws", "azure", "google", "generic"]
    fields: Annotated[dict[str, Annotated[str, Field(max_length=65_536)]], Field(max_length=100)] | None = None
    secrets: Annotated[dict[str, Annotated[str, Field(max_length=65_536)] | None], Field(max_length=100)] | None = (
        Field(None, repr=False)
    )
    environments: RefList | None = None
    description: Line | None = None


class MachinePolicyDocument(Body):
    """`script` says by its exit code, `fail` and `warn` how a target is; `wait_s` 0: as long as any job waits."""

    kind: Literal["MachinePolicy"]
    name: Name
    interval_s: Annotated[int, Field(ge=60, le=7 * 24 * 3600)] | None = None
    script: Annotated[str, Field(max_length=65_536)] | None = None
    shell: Shell | None = None
    unavailable: Literal["fail", "skip", "wait"] | None = None
    wait_s: Annotated[int, Field(ge=0, le=24 * 3600)] | None = None
    catch_up: bool | None = None
    description: Line | None = None


class TargetDocument(EndpointBody):
    """Of a target that exists, or, with a `type`, of one that is made; any other machine joins by enrolling."""

    kind: Literal["Target"]
    name: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]
    type: ReachedKind | None = None
    roles: RoleList | None = None
    environments: RefList | None = None
    policy: Ref | None = None


class ProjectDocument(Body):
    kind: Literal["Project"]
    name: Name
    description: Text | None = None
    group: Line | None = None
    lifecycle: Ref | None = None
    concurrency: Concurrency | None = None
    tasks_at_once: TasksAtOnce | None = None
    variable_sets: RefList | None = None
    variables: VariableList | None = None
    process: ProcessBody | None = None


# In the order in which documents are applied: what is named comes before what names it, whatever the file's order.
KINDS: dict[str, type[BaseModel]] = {
    "Environment": EnvironmentDocument,
    "Lifecycle": LifecycleDocument,
    "VariableSet": VariableSetDocument,
    "Account": AccountDocument,
    "MachinePolicy": MachinePolicyDocument,
    "Target": TargetDocument,
    "Project": ProjectDocument,
}


def environment_document(row: Environment) -> Document:
    return _without_blanks({"kind": "Environment", "name": row.name, "description": row.description})


def lifecycle_document(row: Lifecycle) -> Document:
    phases = lifecycles.as_written(row)
    return _without_blanks({"kind": "Lifecycle", "name": row.name, "description": row.description}) | {
        "phases": [
            {key: value for key, value in phase.items() if (key, value) != ("require", "all")} for phase in phases
        ]
    }


def variable_set_document(row: VariableSet) -> Document:
    return _without_blanks({"kind": "VariableSet", "name": row.name, "description": row.description}) | {
        "variables": [variable_document(found) for found in variables.of(row)]
    }


def account_document(row: Account, names: dict[str, str]) -> Document:
    """Secrets are named, and come from the environment when the file is applied again."""
    head = {"kind": "Account", "name": row.name, "type": str(row.kind), "description": row.description}
    return _without_blanks(head) | {
        "fields": dict(row.fields),
        "secrets": {
            name: {"value_from_env": _environment_name(f"{row.name}_{name}")} for name in sorted(row.secrets_sealed)
        },
        "environments": sorted(names.get(found, found) for found in row.environments),
    }


def machine_policy_document(row: MachinePolicy) -> Document:
    columns = ("interval_s", "script", "shell", "wait_s", "catch_up", "description")
    written = {name: getattr(row, name) for name in columns}
    return {"kind": "MachinePolicy", "name": row.name, "unavailable": str(row.unavailable), **written}


def target_document(row: Target, names: dict[str, str]) -> Document:
    return {
        "kind": "Target",
        "name": row.name,
        **_endpoint_document(row),
        "roles": sorted(row.roles),
        "environments": sorted(names[found] for found in targeting.environments_of(row) if found in names),
        "policy": policy_of(row).name,
    }


def _endpoint_document(row: Target) -> Document:
    """Nothing of a target on which its own spoke stands."""
    if not row.endpoint:
        return {}
    account = Account.get_or_none(Account.id == row.endpoint.get("account"))
    written = {name: value for name, value in row.endpoint.items() if name in EndpointBody.model_fields and value}
    return {"type": str(row.kind), **written} | ({"account": account.name} if account is not None else {})


def project_document(row: Project, names: dict[str, str]) -> Document:
    """`names`: of environments, by id."""
    head = {
        "kind": "Project",
        "name": row.name,
        "description": row.description,
        "group": row.group,
        "lifecycle": Lifecycle.get_by_id(row.lifecycle).name,
        "concurrency": row.concurrency,
        "tasks_at_once": row.tasks_at_once,
        "variable_sets": [found.name for found in projects.sets_of(row)] or None,
    }
    return _without_blanks(head) | {
        "variables": [variable_document(found) for found in variables.of(row)],
        "process": [as_written(step, lambda found: names.get(found, found)) for step in row.process],
    }


def variable_document(row: Variable) -> Document:
    """A secret's value is not in it: the client takes it from its environment when it applies the file."""
    scope = variables.written_scope(row.scope)
    written: Document = {"name": row.name}
    if row.secret:
        written |= {"secret": True, "value_from_env": _environment_name(row.name)}
    else:
        written |= {"value": row.value}
    extra = {"scope": scope or None, "description": row.description, "expose_env": row.expose_env or None}
    return written | _without_blanks(extra)


def file_of(row: Project, *, values: bool, accounts: bool) -> list[Document]:
    """Everything that a project needs, as the documents of one file.

    `values`: with its variables; `accounts`: with the accounts that its steps name, but for their secrets.
    """
    names = {found.id: found.name for found in Environment.select()}
    lifecycle = Lifecycle.get_by_id(row.lifecycle)
    used = [found for phase in lifecycle.phases for found in phase["environments"] if found in names]
    found = [
        *(environment_document(Environment.get_by_id(one)) for one in dict.fromkeys(used)),
        lifecycle_document(lifecycle),
        *(variable_set_document(one) for one in projects.sets_of(row)),
        *(account_document(one, names) for one in (_accounts_of(row) if accounts else ())),
        project_document(row, names),
    ]
    # A document without the key leaves variables as they are.
    return found if values else [{key: part for key, part in one.items() if key != "variables"} for one in found]


def _accounts_of(row: Project) -> list[Account]:
    named = {str(step["properties"].get("account") or "").lower() for step in row.process} - {""}
    return list(Account.select().where(fn.LOWER(Account.name).in_(list(named))).order_by(Account.name))


def _environment_name(name: str) -> str:
    return "".join(c.upper() if c.isascii() and c.isalnum() else "_" for c in name)


def _without_blanks(document: Document) -> Document:
    return {key: value for key, value in document.items() if value not in (None, "")}
