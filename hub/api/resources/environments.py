"""`/environments`."""

from hub.api.query_string import ListQuery
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import environments as queries
from hub.queries.environments import EnvironmentView
from hub.queries.listing import Page

RESOURCE = Resource("environments")


@RESOURCE.get(
    "/environments", Page[EnvironmentView], Permission.ENVIRONMENT_VIEW, "All environments, in order", query=ListQuery
)
def list_all(call: Call) -> Page[EnvironmentView]:
    return queries.environments(call.query.slice)


@RESOURCE.get("/environments/<environment>", EnvironmentView, Permission.ENVIRONMENT_VIEW, "One environment")
def show(_: Call, environment: str) -> EnvironmentView:
    return queries.environment(environment)


RESOURCE.change("POST", "/environments", "environment.create")
RESOURCE.change("PUT", "/environments/<environment>", "environment.update")
RESOURCE.change("DELETE", "/environments/<environment>", "environment.delete")
