"""`/waits`: why anything does not move."""

from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries.listing import Page
from hub.queries.unfinished import unfinished
from hub.queries.waits import WaitView

RESOURCE = Resource("waits")


@RESOURCE.get("/waits", Page[WaitView], Permission.TASK_VIEW, "All that is not finished, and whose move it is")
def list_all(call: Call) -> Page[WaitView]:
    return unfinished(call.caller)
