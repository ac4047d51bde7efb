"""Event rows become CloudEvents: read in order, told or passed over, numbered by source, stored as they are published.

    event rows  --made-->  integration_event (key, body, number)  --published-->  the broker

Event rows are numbered under the lock of their chain's head, so whoever reads row n has every row before it. Numbers
are given in the transaction that moves the cursor: none is lost and none is given twice, whenever the hub dies. After
a restored backup the hub counts in a new epoch, which is part of the source: no number ever means two events.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hub.integration.cloud_event import CloudEvent
from hub.integration.event_types import Named
from hub.integration.telling import Telling, telling
from hub.storage.database import is_postgres, write_tx
from hub.storage.models import ChainHead, Event, EventCursor, EventSource, IntegrationEvent, Project, new_row_id
from wire.integration_topology import NOWHERE, event_key, word

SCHEMAS_PATH = "/api/v1/integration/schemas"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who speaks: the hub, since which restore, and where its schemas are found."""

    hub_id: str
    epoch: int
    url: str

    def source(self, project: str | None) -> str:
        """A project's events are numbered apart, so that who hears of one project can see that nothing is missing."""
        own = f"/hubs/{self.hub_id}/epochs/{self.epoch}"
        return f"{own}/projects/{project}" if project else own

    def schema(self, name: str) -> str:
        """Where the JSON Schema of a type is found."""
        return f"{self.url}{SCHEMAS_PATH}/{name}"


def make_events(origin: Origin, limit: int, fence: Callable[[], None]) -> int:
    """Make what is due of at most `limit` event rows; how many rows that were.

    Args:
        origin: Who speaks.
        limit: Of one transaction.
        fence: Raises, inside the transaction, where another node does this by now.
    """
    if not _behind():
        return 0
    with write_tx():
        fence()
        cursor = _locked_cursor()
        rows = list(Event.select().where(Event.seq > cursor.made).order_by(Event.seq).limit(limit))
        for row in rows:
            told = telling(row)
            if told is not None:
                _store(origin, row, told)
        if rows:
            EventCursor.update(made=rows[-1].seq).where(EventCursor.id == 1).execute()
    return len(rows)


def prune(before_ms: int, limit: int = 5_000) -> int:
    """Forget what was published and is older; numbers go on."""
    old = (
        IntegrationEvent.select(IntegrationEvent.seq)
        .where(IntegrationEvent.at < before_ms, IntegrationEvent.seq <= EventCursor.select(EventCursor.published))
        .order_by(IntegrationEvent.at)
        .limit(limit)
    )
    with write_tx():
        gone: int = IntegrationEvent.delete().where(IntegrationEvent.seq.in_(old)).execute()
    return gone


def _behind() -> bool:
    head = ChainHead.select(ChainHead.seq).where(ChainHead.id == 1).scalar() or 0
    made = EventCursor.select(EventCursor.made).where(EventCursor.id == 1).scalar() or 0
    return bool(head > made)


def _locked_cursor() -> EventCursor:
    query = EventCursor.select().where(EventCursor.id == 1)
    found: EventCursor = (query.for_update() if is_postgres() else query).get()
    return found


def _store(origin: Origin, row: Event, told: Telling) -> None:
    project = told.project.id if told.project else None
    source = origin.source(project)
    sequence = _next(source, project)
    event = CloudEvent(
        id=new_row_id(),
        source=source,
        type=told.type.type,
        subject=told.subject,
        at_ms=row.at,
        sequence=sequence,
        data_schema=origin.schema(told.type.name),
        correlation_id=told.correlation_id,
        data=told.data.model_dump(mode="json"),
    )
    IntegrationEvent.insert(
        seq=row.seq,
        source=source,
        sequence=sequence,
        type=told.type.type,
        key=event_key(_project_word(project, source), _word(told.environment), told.type.entity, told.type.verb),
        body=event.text(),
        at=row.at,
    ).execute()


def _next(source: str, project: str | None) -> int:
    moved = EventSource.update(newest=EventSource.newest + 1).where(EventSource.source == source).execute()
    if not moved:
        EventSource.insert(source=source, project=project, newest=1).execute()
        return 1
    return int(EventSource.select(EventSource.newest).where(EventSource.source == source).scalar())


def _project_word(project: str | None, source: str) -> str:
    """Its slug, which a new name does not change; of one that is gone, the word of what was told of it last."""
    if project is None:
        return NOWHERE
    slug: str | None = Project.select(Project.slug).where(Project.id == project).scalar()
    if slug is not None:
        return word(slug)
    told = IntegrationEvent.select(IntegrationEvent.key).where(IntegrationEvent.source == source)
    key: str | None = told.order_by(IntegrationEvent.sequence.desc()).limit(1).scalar()
    return key.split(".")[1] if key is not None else NOWHERE


def _word(named: Named | None) -> str:
    return word(named.name) if named is not None and named.name else NOWHERE
