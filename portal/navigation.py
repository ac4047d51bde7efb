"""The bar at the left: the page families that the caller may see, in the order of a day's work."""

from dataclasses import dataclass

from flask import request, url_for

from hub.access.caller import Caller
from hub.permissions import Permission

_FAMILIES = (
    ("dashboard", "Dashboard", "dashboard.show", Permission.PROJECT_VIEW),
    ("projects", "Projects", "projects.index", Permission.PROJECT_VIEW),
    ("tasks", "Tasks", "tasks.index", Permission.TASK_VIEW),
    ("queue", "Queue", "queue.show", Permission.TASK_VIEW),
    ("targets", "Targets", "targets.index", Permission.TARGET_VIEW),
    ("packages", "Packages", "packages.index", Permission.PACKAGE_VIEW),
    ("audit", "Audit", "audit.index", Permission.EVENT_VIEW),
    ("keys", "Keys", "keys.index", Permission.KEY_EDIT),
)

# A release is looked at inside its project, and a target is added among the targets.
_WITHIN = {"releases": "projects", "adding": "targets"}


@dataclass(frozen=True, slots=True)
class Entry:
    title: str
    url: str
    current: bool


def entries(caller: Caller) -> tuple[Entry, ...]:
    here = _WITHIN.get(request.blueprint or "", request.blueprint)
    return tuple(
        Entry(title, url_for(endpoint), family == here)
        for family, title, endpoint, needed in _FAMILIES
        if caller.may_somewhere(needed)
    )
