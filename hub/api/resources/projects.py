"""`/projects`: with their process, their export as a project file, and the dashboard of all of them."""

from typing import Any

from pydantic import JsonValue

from hub.api.query_string import SearchQuery
from hub.api.route import Call, Resource
from hub.operations.body import Reply
from hub.permissions import Permission
from hub.projects import documents
from hub.queries import dashboard
from hub.queries import projects as queries
from hub.queries.dashboard import Matrix
from hub.queries.listing import Page
from hub.queries.projects import ProcessView, ProjectView

RESOURCE = Resource("projects")


class ProjectFile(Reply):
    """As `POST /apply` takes it; secrets are named and not given."""

    documents: list[dict[str, JsonValue]]


class StepKinds(Reply):
    """As the present runner announces them."""

    items: list[dict[str, Any]]


@RESOURCE.get("/projects", Page[ProjectView], Permission.PROJECT_VIEW, "All projects", query=SearchQuery)
def list_all(call: Call) -> Page[ProjectView]:
    return queries.all_projects(call.caller, call.query.slice, call.query.q)


@RESOURCE.get("/projects/<project>", ProjectView, Permission.PROJECT_VIEW, "One project")
def show(call: Call, project: str) -> ProjectView:
    return queries.project(call.caller, project)


RESOURCE.change("POST", "/projects", "project.create")
RESOURCE.change("PUT", "/projects/<project>", "project.update")
RESOURCE.change("DELETE", "/projects/<project>", "project.delete")


@RESOURCE.get("/projects/<project>/process", ProcessView, Permission.PROJECT_VIEW, "A project's steps")
def process(call: Call, project: str) -> ProcessView:
    return queries.process(call.caller, project)


RESOURCE.change("PUT", "/projects/<project>/process", "process.update")


@RESOURCE.get("/projects/<project>/export", ProjectFile, Permission.PROJECT_VIEW, "A project as a project file")
def export(call: Call, project: str) -> ProjectFile:
    row = queries.row_of(call.caller, project)
    values = call.caller.may(Permission.VARIABLE_VIEW, row.id)
    accounts = call.caller.may(Permission.ACCOUNT_VIEW)
    return ProjectFile(documents=documents.file_of(row, values=values, accounts=accounts))


@RESOURCE.get("/dashboard", Matrix, Permission.PROJECT_VIEW, "What is where")
def matrix(call: Call) -> Matrix:
    return dashboard.matrix(call.caller)


@RESOURCE.get("/step-kinds", StepKinds, Permission.PROJECT_VIEW, "The kinds of steps, with their properties")
def step_kinds(call: Call) -> StepKinds:
    kinds = call.parts.step_kinds()
    return StepKinds(items=[kinds[name].to_json() for name in sorted(kinds)])
