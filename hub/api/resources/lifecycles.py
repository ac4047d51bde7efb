"""`/lifecycles`."""

from hub.api.query_string import ListQuery
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import lifecycles as queries
from hub.queries.lifecycles import LifecycleView
from hub.queries.listing import Page

RESOURCE = Resource("lifecycles")


@RESOURCE.get("/lifecycles", Page[LifecycleView], Permission.LIFECYCLE_VIEW, "All lifecycles", query=ListQuery)
def list_all(call: Call) -> Page[LifecycleView]:
    return queries.all_lifecycles(call.query.slice)


@RESOURCE.get("/lifecycles/<lifecycle>", LifecycleView, Permission.LIFECYCLE_VIEW, "One lifecycle")
def show(_: Call, lifecycle: str) -> LifecycleView:
    return queries.lifecycle(lifecycle)


RESOURCE.change("POST", "/lifecycles", "lifecycle.create")
RESOURCE.change("PUT", "/lifecycles/<lifecycle>", "lifecycle.update")
RESOURCE.change("DELETE", "/lifecycles/<lifecycle>", "lifecycle.delete")
