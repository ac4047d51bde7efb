"""`/events`: the audit log. `/artifacts`: what scripts brought back. `/intents`: what became of a request."""

from flask import Response, json

from hub.api.declared import Declared
from hub.api.query_string import ListQuery, Word
from hub.api.route import BASE, Call, Resource
from hub.errors import NotFound
from hub.operations.body import Reply
from hub.permissions import Permission
from hub.queries import events as queries
from hub.queries.events import EventView
from hub.queries.listing import Page

RESOURCE = Resource("events")
INTENTS = Resource("intents")


class EventsQuery(ListQuery):
    project: Word = ""
    action: Word = ""
    actor: Word = ""
    object: Word = ""


class IntentView(Reply):
    """`status` and `answer` are those of the request; null while it waits."""

    intent: str
    state: str
    status: int | None
    answer: dict[str, object] | None


@RESOURCE.get("/events", Page[EventView], Permission.EVENT_VIEW, "What happened, newest first", query=EventsQuery)
def list_all(call: Call) -> Page[EventView]:
    query = call.query
    return queries.events(
        call.caller, query.slice, project=query.project, action=query.action, actor=query.actor, object_=query.object
    )


@INTENTS.get("/intents/<intent>", IntentView, Declared(own=True), "What became of a request of one's own")
def intent(call: Call, intent: str) -> Response:
    answer = call.parts.asking.answer(call.caller, intent)
    if answer is None:
        raise NotFound(f"no intent {intent!r} of yours")
    waiting = answer.status == 202 and not answer.body
    found = IntentView(
        intent=answer.intent,
        state="waiting" if waiting else "done",
        status=None if waiting else answer.status,
        answer=None if waiting else answer.body,
    )
    response = Response(json.dumps(found.model_dump()), 200, content_type="application/json")
    response.headers["Link"] = f'<{BASE}/intents/{answer.intent}>; rel="self"'
    return response
