"""`apply`: makes the hub match a project file, all of it or nothing; every document is authorised by itself.

A plan is the same work in a savepoint that is given back: what it shows is what would happen.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, JsonValue, ValidationError

from hub.errors import HubError, Invalid, NotFound
from hub.infrastructure import environments
from hub.operations.apply_places import apply_account, apply_machine_policy, apply_target
from hub.operations.body import Body, Reply
from hub.operations.context import Context
from hub.operations.operation import Done, JsonObject, Operation, Scope, require, sentence_of
from hub.operations.sealed_values import Path
from hub.operations.variables import scopes_of_value
from hub.permissions import Permission
from hub.projects import documents, finding, lifecycles, projects, variable_sets, variables
from hub.projects.differences import Change, changes
from hub.projects.documents import (
    KINDS,
    EnvironmentDocument,
    LifecycleDocument,
    ProjectDocument,
    VariableSetDocument,
)
from hub.projects.variables import Owner, VariableBody
from hub.queries.environments import names as environment_names
from hub.storage.database import write_tx
from hub.storage.models import Environment, Lifecycle, Project, VariableSet

Document = dict[str, Any]

_OBJECTS = {"VariableSet": "variable-set", "MachinePolicy": "machine-policy"}


class ApplyBody(Body):
    """`lines`: for each document, the line of every field by JSON pointer, so that errors can say where."""

    documents: Annotated[list[dict[str, JsonValue]], Field(min_length=1, max_length=500)]
    lines: Annotated[list[dict[str, int]], Field(max_length=500)] = Field(default_factory=list)
    plan_only: bool = False


class Difference(Reply):
    kind: str
    name: str
    action: Literal["create", "update", "none"]
    changes: list[Change]


class Differences(Reply):
    plan_only: bool
    differences: list[Difference]


class DocumentFault(Invalid):
    """Says in which document and line, and what was expected there."""

    def __init__(self, body: ApplyBody, index: int, location: Sequence[str | int], detail: str, code: str) -> None:
        pointer = "".join(f"/{part}" for part in location)
        line = _line(body.lines[index] if index < len(body.lines) else {}, pointer)
        super().__init__(f"line {line}: {detail}" if line else detail, field=pointer or None, code=code)
        self.members = {"document": index} | ({"line": line} if line else {})


class _GiveBack(Exception):
    """Ends the savepoint of a plan."""


def secret_paths(request: JsonObject) -> Iterable[Path]:
    """Values of secrets, in a request that was not validated yet."""
    found: list[Path] = []
    for index, document in enumerate(request.get("documents") or []):
        listed = document.get("variables") if isinstance(document, dict) else None
        for position, variable in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(variable, dict) and variable.get("secret") is True:
                found.append(("documents", index, "variables", position, "value"))
        secrets = document.get("secrets") if isinstance(document, dict) else None
        found += [("documents", index, "secrets", name) for name in secrets] if isinstance(secrets, dict) else []
    return found


def _apply(context: Context, body: ApplyBody) -> Done:
    differences: list[Difference] = []
    try:
        with write_tx():
            differences = _Applying(context, body).run()
            if body.plan_only:
                raise _GiveBack
    except _GiveBack:
        return Done(Differences(plan_only=True, differences=differences), "apply:plan", recorded=True)
    return Done(Differences(plan_only=False, differences=differences), "apply:done", recorded=True)


class _Applying:
    """One run over one body's documents."""

    def __init__(self, context: Context, body: ApplyBody) -> None:
        self._context = context
        self._body = body

    def run(self) -> list[Difference]:
        read = [self._document(index, document) for index, document in enumerate(self._body.documents)]
        self._refuse_twins(read)
        order = sorted(range(len(read)), key=lambda index: list(KINDS).index(read[index].kind))
        done = {index: self._one(index, read[index]) for index in order}
        return [done[index] for index in range(len(read))]

    def _document(self, index: int, document: Document) -> Any:
        kind = document.get("kind")
        model = KINDS.get(kind) if isinstance(kind, str) else None
        if model is None:
            raise self._fault(index, ["kind"], f"kind: expected one of {', '.join(KINDS)}{_hint(str(kind), KINDS)}")
        try:
            return model.model_validate(document)
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
            # A field whose name has a typo is missing under its true one: the typo is what must be mended.
            first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
            location = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
            raise self._fault(index, location, _explained(model, location, first)) from None

    def _refuse_twins(self, read: Sequence[Any]) -> None:
        seen: set[tuple[str, str]] = set()
        for index, document in enumerate(read):
            place = (document.kind, document.name.casefold())
            if place in seen:
                raise self._fault(index, ["name"], f"{document.kind} {document.name!r} stands twice in the file")
            seen.add(place)

    def _one(self, index: int, document: Any) -> Difference:
        acts: dict[str, Callable[[Any], tuple[Document | None, Document, str]]] = {
            "Environment": self._environment,
            "Lifecycle": self._lifecycle,
            "VariableSet": self._variable_set,
            "Account": lambda found: apply_account(self._context, found),
            "MachinePolicy": lambda found: apply_machine_policy(self._context, found),
            "Target": lambda found: apply_target(self._context, found),
            "Project": self._project,
        }
        try:
            before, after, row_id = acts[document.kind](document)
        except HubError as error:
            location = error.field.split(".") if error.field else []
            raise self._fault(index, location, error.detail, error) from error
        found = changes(before, after)
        action: Literal["create", "update", "none"] = "create" if before is None else ("update" if found else "none")
        if action != "none":
            self._record(document, action, row_id, found)
        return Difference(kind=document.kind, name=document.name, action=action, changes=found)

    def _record(self, document: Any, action: str, row_id: str, found: list[Change]) -> None:
        kind = _OBJECTS.get(document.kind, document.kind.lower())
        self._context.record(
            f"{kind}.{action}",
            f"{kind}:{row_id}",
            project=row_id if kind == "project" else None,
            detail={"name": document.name, "by": "apply", "fields": [change.field for change in found]},
        )

    def _environment(self, document: EnvironmentDocument) -> tuple[Document | None, Document, str]:
        require(self._context.caller, Permission.ENVIRONMENT_EDIT, Scope())
        row = finding.existing(Environment, document.name)
        if row is None:
            row = environments.create_environment(
                self._context, document.name, document.description or "", document.position
            )
            return None, _environment(row), row.id
        before = _environment(row)
        wanted = {"description": document.description, "position": document.position}
        given = {key: value for key, value in wanted.items() if value is not None and value != getattr(row, key)}
        if given:
            row = environments.update_environment(self._context, row.id, **given)
        return before, _environment(row), row.id

    def _lifecycle(self, document: LifecycleDocument) -> tuple[Document | None, Document, str]:
        require(self._context.caller, Permission.LIFECYCLE_EDIT, Scope())
        row = finding.existing(Lifecycle, document.name)
        if row is None:
            row = lifecycles.create(self._context, document.name, document.phases or [], document.description or "")
            return None, documents.lifecycle_document(row), row.id
        before = documents.lifecycle_document(row)
        lifecycles.change_where_different(self._context, row, phases=document.phases, description=document.description)
        return before, documents.lifecycle_document(row), row.id

    def _variable_set(self, document: VariableSetDocument) -> tuple[Document | None, Document, str]:
        require(self._context.caller, Permission.VARIABLE_SET_EDIT, Scope())
        row = finding.existing(VariableSet, document.name)
        before = None if row is None else _with_versions(documents.variable_set_document(row), row)
        if row is None:
            row = variable_sets.create(document.name, document.description or "")
        elif document.description is not None and document.description != row.description:
            variable_sets.update(row, name=row.name, description=document.description, if_version=0)
        self._variables(row, None, Permission.VARIABLE_SET_EDIT, document.variables)
        return before, _with_versions(documents.variable_set_document(row), row), row.id

    def _project(self, document: ProjectDocument) -> tuple[Document | None, Document, str]:
        row = finding.existing(Project, document.name)
        before = None if row is None else self._project_before(row)
        if row is None:
            row = self._new_project(document)
        else:
            self._change_project(row, document)
        if document.process is not None:
            require(self._context.caller, Permission.PROCESS_EDIT, Scope(row.id))
            projects.set_process(
                self._context, row, document.process, self._context.step_kinds, if_version=0, at="process"
            )
        self._variables(row, row.id, Permission.VARIABLE_EDIT, document.variables)
        after = _with_versions(documents.project_document(row, environment_names()), row)
        return before, after, row.id

    def _project_before(self, row: Project) -> Document:
        require(self._context.caller, Permission.PROJECT_EDIT, Scope(row.id))
        return _with_versions(documents.project_document(row, environment_names()), row)

    def _new_project(self, document: ProjectDocument) -> Project:
        require(self._context.caller, Permission.PROJECT_CREATE, Scope())
        return projects.create(
            self._context,
            document.name,
            description=document.description or "",
            group=document.group or "",
            lifecycle=document.lifecycle,
            variable_sets=document.variable_sets or [],
            concurrency=document.concurrency or "",
            tasks_at_once=document.tasks_at_once,
        )

    def _change_project(self, row: Project, document: ProjectDocument) -> None:
        lifecycle = finding.lifecycle(document.lifecycle, "lifecycle").id if document.lifecycle else row.lifecycle
        plain = (document.description, document.group, document.concurrency, document.tasks_at_once)
        if any(field is not None for field in plain) or lifecycle != row.lifecycle:
            projects.update(
                self._context,
                row,
                name=row.name,
                description=row.description if document.description is None else document.description,
                group=row.group if document.group is None else document.group,
                lifecycle=lifecycle,
                concurrency=row.concurrency if document.concurrency is None else document.concurrency,
                tasks_at_once=row.tasks_at_once if document.tasks_at_once is None else document.tasks_at_once,
                variable_sets=[found.id for found in projects.sets_of(row)],
                if_version=0,
            )
        if document.variable_sets is not None:
            projects.include_sets(row, document.variable_sets)

    def _variables(
        self, owner: Owner, project: str | None, permission: Permission, wanted: list[VariableBody] | None
    ) -> None:
        if wanted is None:
            return
        reached = [row.scope["environments"] for row in variables.of(owner)]
        for index, body in enumerate(wanted):
            field = f"variables.{index}.scope.environments"
            reached.append([finding.environment(ref, field).id for ref in body.scope.environments])
        for scope in scopes_of_value(project, reached):
            require(self._context.caller, permission, scope)
        variables.replace_all(self._context, owner, wanted)

    def _fault(self, index: int, location: Sequence[str | int], detail: str, cause: HubError | None = None) -> HubError:
        fault = DocumentFault(self._body, index, location, detail, cause.code if cause else Invalid.code)
        if cause is not None and not isinstance(cause, NotFound):
            # 403 and 409 stay what they are; a name in the file that is none is the file's fault.
            fault.status = cause.status
        return fault


def _environment(row: Environment) -> Document:
    return documents.environment_document(row) | {"position": row.position}


def _with_versions(document: Document, owner: Owner) -> Document:
    """A secret's change shows in the number of its value; the value itself nowhere."""
    for shown, row in zip(document["variables"], variables.of(owner), strict=True):
        if row.secret:
            shown.pop("value_from_env", None)
            shown["value"] = "***"
            shown["value_version"] = row.value_version
    return document


def _explained(model: type[BaseModel], location: Sequence[str | int], fault: Any) -> str:
    where = ".".join(str(part) for part in location)
    sentence = sentence_of(fault)
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        sentence = f"nobody knows this field{_hint(str(location[-1]), known)}; expected one of {', '.join(known)}"
    return f"{where}: {sentence}"


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Names of the fields of the model that stands at a place of another."""
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = _model_in(field.annotation) if field is not None else model
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg)) is not None), None)


def _hint(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _line(lines: dict[str, int], pointer: str) -> int | None:
    """Of the field, or of the nearest thing around it."""
    while pointer:
        if pointer in lines:
            return lines[pointer]
        pointer = pointer.rpartition("/")[0]
    return lines.get("")


OPERATIONS = (
    Operation(
        "apply",
        "Make the hub match a project file",
        ApplyBody,
        Differences,
        None,
        _apply,
        secrets=secret_paths,
    ),
)
