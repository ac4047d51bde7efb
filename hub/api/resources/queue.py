"""`/queue`: what waits for its turn and why, and what is paused."""

from hub.api.query_string import ListQuery
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import queue as queries
from hub.queries.queue import QueueView

RESOURCE = Resource("queue")


@RESOURCE.get("/queue", QueueView, Permission.TASK_VIEW, "What waits, and why; what is paused", query=ListQuery)
def show(call: Call) -> QueueView:
    return queries.queue(call.caller, call.query.slice)


RESOURCE.change("POST", "/queue/pause", "queue.pause")
RESOURCE.change("POST", "/queue/resume", "queue.resume")
RESOURCE.change("POST", "/tasks/<task>/priority", "task.prioritise")
