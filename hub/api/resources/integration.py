"""`/integration`: consumers of events over AMQP, events again from a number on, and documents that describe them."""

from typing import Annotated

from flask import Response, json
from pydantic import Field

from hub.api.declared import Declared
from hub.api.query_string import ListQuery, Query, Whole, Word
from hub.api.route import Call, Resource
from hub.errors import NotFound
from hub.integration import documents
from hub.permissions import Permission
from hub.queries import integration as queries
from hub.queries.integration import ConsumerView, SourceView, ToldEvents
from hub.queries.listing import DEFAULT_LIMIT, MAX_LIMIT, Page

RESOURCE = Resource("integration")
_DESCRIBES = Declared(public_reason="says what an event or a command is like, and nothing of what happened")


class ToldQuery(Query):
    """`after`: the number of the last event that is known; 0 for all that are kept."""

    source: Word
    after: Annotated[Whole, Field(ge=0)] = 0
    limit: Annotated[Whole, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT


@RESOURCE.get(
    "/integration/consumers",
    Page[ConsumerView],
    Permission.CONSUMER_EDIT,
    "Who hears events over AMQP",
    query=ListQuery,
)
def list_consumers(call: Call) -> Page[ConsumerView]:
    return queries.consumers(call.query.slice)


RESOURCE.change("POST", "/integration/consumers", "consumer.create")
RESOURCE.change("DELETE", "/integration/consumers/<consumer>", "consumer.delete")


@RESOURCE.get(
    "/integration/sources",
    Page[SourceView],
    Permission.EVENT_VIEW,
    "The sources of events, each with a numbering of its own",
    query=ListQuery,
)
def list_sources(call: Call) -> Page[SourceView]:
    return queries.sources(call.caller, call.query.slice)


@RESOURCE.get(
    "/integration/events",
    ToldEvents,
    Permission.EVENT_VIEW,
    "The events of one source after a number, as they were published",
    query=ToldQuery,
)
def list_events(call: Call) -> ToldEvents:
    query = call.query
    return queries.events_of(call.caller, query.source, query.after, query.limit)


@RESOURCE.get(
    "/integration/asyncapi.json", None, Declared(own=True), "What is said and asked over AMQP, and where: AsyncAPI 3"
)
def asyncapi(call: Call) -> Response:
    return _document(documents.asyncapi(call.parts.broker_url))


@RESOURCE.get("/integration/schemas/<schema>", None, _DESCRIBES, "The JSON Schema of one type of event or command")
def schema(_: Call, schema: str) -> Response:
    found = documents.SCHEMAS.get(schema)
    if found is None:
        raise NotFound(f"no schema {schema[:80]!r}; asyncapi.json names them all")
    return _document(found)


def _document(found: documents.JsonObject) -> Response:
    return Response(json.dumps(found), content_type="application/json")
