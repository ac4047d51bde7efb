"""The audit log, newest first, within what the caller may see."""

import json

from pydantic import JsonValue

from hub.access.caller import Caller
from hub.operations.body import Reply
from hub.permissions import Permission
from hub.queries import projects
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.storage.models import Event, User


class EventView(Reply):
    """`actor` is `user:<id>`, `spoke:<id>` or `system`; `actor_name` what people call him."""

    seq: int
    at: str
    actor: str
    actor_name: str
    action: str
    object: str
    outcome: str
    project: str | None
    environment: str | None
    detail: dict[str, JsonValue]


def events(
    caller: Caller, part: Slice, *, project: str = "", action: str = "", actor: str = "", object_: str = ""
) -> Page[EventView]:
    query = Event.select()
    visible = caller.projects_with(Permission.EVENT_VIEW)
    if visible is not None:
        query = query.where(Event.project << visible)
    if project:
        query = query.where(Event.project == projects.row_of(caller, project).id)
    for column, wanted in ((Event.action, action), (Event.actor, actor), (Event.object, object_)):
        if wanted:
            query = query.where(column == wanted)
    names = {f"user:{row.id}": row.name for row in User.select(User.id, User.name)}
    return page(query, Order(Event.seq, Event.seq, newest_first=True), part, lambda row: _view(row, names))


def _view(row: Event, names: dict[str, str]) -> EventView:
    return EventView(
        seq=row.seq,
        at=time_text(row.at),
        actor=row.actor,
        actor_name=names.get(row.actor, row.actor),
        action=row.action,
        object=row.object,
        outcome=row.outcome,
        project=row.project,
        environment=row.environment,
        detail=json.loads(row.bytes)["detail"],
    )
