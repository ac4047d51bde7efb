"""`/nodes`: the engines that work for this hub."""

from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries.listing import Page
from hub.queries.nodes import NodeView, all_nodes

RESOURCE = Resource("nodes")


@RESOURCE.get("/nodes", Page[NodeView], Permission.TASK_VIEW, "The engines that work for this hub")
def list_all(_: Call) -> Page[NodeView]:
    return all_nodes()
