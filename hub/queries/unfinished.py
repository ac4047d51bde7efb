"""Everything in the hub that is not finished, with whose move it is."""

from hub.access.caller import Caller
from hub.orchestrator import waiting
from hub.permissions import Permission
from hub.queries.listing import Page
from hub.queries.tasks import visible
from hub.queries.waits import WaitView, wait_views
from hub.states import TASK_ENDED
from hub.storage.models import Task, now_ms

_TASKS_MAX = 200


def unfinished(caller: Caller) -> Page[WaitView]:
    """Of the oldest tasks that the caller may see, and of spokes if he may see those."""
    at_ms = now_ms()
    tasks = Task.select().where(visible(caller), Task.state.not_in(list(TASK_ENDED)))
    found = [
        wait
        for task in tasks.order_by(Task.created_at, Task.id).limit(_TASKS_MAX)
        for wait in waiting.of_task(task, at_ms)
    ]
    if caller.may(Permission.SPOKE_VIEW):
        found += waiting.of_spokes(at_ms)
    return Page(items=wait_views(found), next=None)
