"""What integrations may read: consumers, the sources of events, and events again from a number on."""

import json
from typing import Any

from peewee import fn
from pydantic import ConfigDict, Field, JsonValue

from hub.access.caller import Caller
from hub.errors import HubError, NotFound
from hub.operations.body import Reply
from hub.permissions import Permission
from hub.queries.listing import Order, Page, Slice, page, time_text
from hub.states import ConsumerState
from hub.storage.models import Consumer, EventCursor, EventSource, IntegrationEvent, Project
from wire.integration_topology import VHOST, answers_queue, consumer_user, events_queue


class ConsumerView(Reply):
    """`projects` null: all of them, and the hub itself. `state` ready: its account and its queues are there."""

    id: str
    name: str
    projects: list[str] | None
    commands: bool
    state: str
    user: str
    vhost: str
    events_queue: str
    answers_queue: str
    created_at: str


class SourceView(Reply):
    """One numbering. `oldest` to `newest` can be asked for again; `published`: up to there the broker has them."""

    source: str
    project: str | None
    oldest: int | None
    newest: int
    published: int


class ToldEvent(Reply):
    """A CloudEvent as it was published; which attributes and data it has is said by its `dataschema`."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    specversion: str
    id: str
    source: str
    type: str
    sequence: str
    data: dict[str, JsonValue]


class ToldEvents(Reply):
    """In order of their numbers. `next` goes into `?after=`; null: there is none after these yet."""

    items: list[ToldEvent]
    next: str | None
    newest: int = Field(description="The number of the source's last event.")


class Gone(HubError):
    code, status, exit_status = "EVENTS_GONE", 410, 4


def consumers(part: Slice) -> Page[ConsumerView]:
    query = Consumer.select().where(Consumer.state != ConsumerState.REMOVED)
    return page(query, Order(Consumer.name, Consumer.id), part, consumer_view)


def consumer_view(row: Consumer) -> ConsumerView:
    names = None
    if row.projects is not None:
        names = [found.name for found in Project.select().where(Project.id << row.projects).order_by(Project.name)]
    return ConsumerView(
        id=row.id,
        name=row.name,
        projects=names,
        commands=row.commands,
        state=str(row.state),
        user=consumer_user(row.id),
        vhost=VHOST,
        events_queue=events_queue(row.id),
        answers_queue=answers_queue(row.id),
        created_at=time_text(row.created_at),
    )


def sources(caller: Caller, part: Slice) -> Page[SourceView]:
    query = EventSource.select()
    visible = caller.projects_with(Permission.EVENT_VIEW)
    if visible is not None:
        # Whoever may see one environment's events alone would see the others' here.
        whole = [found for found in visible if caller.may(Permission.EVENT_VIEW, found)]
        query = query.where(EventSource.project << whole)
    return page(query, Order(EventSource.source, EventSource.source), part, _source_view)


def events_of(caller: Caller, source: str, after: int, limit: int) -> ToldEvents:
    """Those of a source after a number.

    Raises:
        Gone: they are not kept that long.
        NotFound: there is no such source, or it is none for the caller's eyes.
    """
    row = EventSource.get_or_none(EventSource.source == source)
    if row is None or not caller.may(Permission.EVENT_VIEW, row.project):
        raise NotFound(f"no source {source[:80]!r} that you may see")
    if after < row.newest:
        oldest = _oldest(source)
        if oldest is None or after + 1 < oldest:
            raise Gone(f"events after {after} are not kept any more; the oldest is {oldest or row.newest + 1}")
    chosen = (IntegrationEvent.source == source) & (IntegrationEvent.sequence > after)
    rows = list(IntegrationEvent.select().where(chosen).order_by(IntegrationEvent.sequence).limit(limit))
    more = bool(rows) and rows[-1].sequence < row.newest
    return ToldEvents(
        items=[ToldEvent.model_validate(json.loads(found.body)) for found in rows],
        next=str(rows[-1].sequence) if more else None,
        newest=row.newest,
    )


def waiting_events() -> tuple[int, int]:
    """How many events the broker has not confirmed, and since when the oldest of them waits (0 where none does)."""
    published = EventCursor.select(EventCursor.published).where(EventCursor.id == 1)
    found = IntegrationEvent.select(fn.COUNT(IntegrationEvent.seq), fn.MIN(IntegrationEvent.at))
    counted: Any = found.where(IntegrationEvent.seq > published).tuples().get()
    return int(counted[0]), int(counted[1] or 0)


def _source_view(row: Any) -> SourceView:
    published = (
        IntegrationEvent.select(IntegrationEvent.sequence)
        .where(
            IntegrationEvent.source == row.source,
            IntegrationEvent.seq <= EventCursor.select(EventCursor.published).where(EventCursor.id == 1),
        )
        .order_by(IntegrationEvent.sequence.desc())
        .limit(1)
        .scalar()
    )
    unpublished = IntegrationEvent.select().where(IntegrationEvent.source == row.source).exists()
    return SourceView(
        source=row.source,
        project=row.project,
        oldest=_oldest(row.source),
        newest=row.newest,
        # Where all of them are forgotten, all of them had been published.
        published=published or (0 if unpublished else row.newest),
    )


def _oldest(source: str) -> int | None:
    found: int | None = (
        IntegrationEvent.select(IntegrationEvent.sequence)
        .where(IntegrationEvent.source == source)
        .order_by(IntegrationEvent.sequence)
        .limit(1)
        .scalar()
    )
    return found
