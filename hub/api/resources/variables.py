"""`/projects/…/variables` and `/variable-sets`."""

from typing import Annotated

from pydantic import StringConstraints

from hub.api.query_string import ListQuery, Query, Word
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import variables as queries
from hub.queries.listing import Page
from hub.queries.variables import ExplainView, VariableSetView, VariableView

RESOURCE = Resource("variables")
SETS = Resource("variable-sets")


class ExplainQuery(Query):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    environment: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    target: Word = ""
    step: Word = ""


@RESOURCE.get(
    "/projects/<project>/variables",
    Page[VariableView],
    Permission.VARIABLE_VIEW,
    "A project's variables",
    query=ListQuery,
)
def list_all(call: Call, project: str) -> Page[VariableView]:
    return queries.of_project(call.caller, project, call.query.slice)


@RESOURCE.get(
    "/projects/<project>/variables/explain",
    ExplainView,
    Permission.VARIABLE_VIEW,
    "Which value wins in a place, and why the others lose",
    query=ExplainQuery,
)
def explain(call: Call, project: str) -> ExplainView:
    query = call.query
    return queries.explain(
        call.caller, project, query.name, environment=query.environment, target=query.target, step=query.step
    )


@RESOURCE.get("/projects/<project>/variables/<variable>", VariableView, Permission.VARIABLE_VIEW, "One value")
def show(call: Call, project: str, variable: str) -> VariableView:
    return queries.one_of_project(call.caller, project, variable)


RESOURCE.change("POST", "/projects/<project>/variables", "variable.set")
RESOURCE.change("PUT", "/projects/<project>/variables/<variable>", "variable.update")
RESOURCE.change("DELETE", "/projects/<project>/variables/<variable>", "variable.delete")


@SETS.get("/variable-sets", Page[VariableSetView], Permission.VARIABLE_VIEW, "All variable sets", query=ListQuery)
def list_sets(call: Call) -> Page[VariableSetView]:
    return queries.sets(call.caller, call.query.slice)


@SETS.get("/variable-sets/<variable_set>", VariableSetView, Permission.VARIABLE_VIEW, "One variable set")
def show_set(call: Call, variable_set: str) -> VariableSetView:
    return queries.one_set(call.caller, variable_set)


@SETS.get(
    "/variable-sets/<variable_set>/variables",
    Page[VariableView],
    Permission.VARIABLE_VIEW,
    "The values of a variable set",
    query=ListQuery,
)
def list_shared(call: Call, variable_set: str) -> Page[VariableView]:
    return queries.of_set(call.caller, variable_set, call.query.slice)


@SETS.get(
    "/variable-sets/<variable_set>/variables/<variable>",
    VariableView,
    Permission.VARIABLE_VIEW,
    "One value of a variable set",
)
def show_shared(call: Call, variable_set: str, variable: str) -> VariableView:
    return queries.one_of_set(call.caller, variable_set, variable)


SETS.change("POST", "/variable-sets", "variable-set.create")
SETS.change("PUT", "/variable-sets/<variable_set>", "variable-set.update")
SETS.change("DELETE", "/variable-sets/<variable_set>", "variable-set.delete")
SETS.change("POST", "/variable-sets/<variable_set>/variables", "shared-variable.set")
SETS.change("PUT", "/variable-sets/<variable_set>/variables/<variable>", "shared-variable.update")
SETS.change("DELETE", "/variable-sets/<variable_set>/variables/<variable>", "shared-variable.delete")
