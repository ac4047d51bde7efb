"""Event rows become CloudEvents: read in order, told or passed over, numbered by source, stored as they are published.

    event rows  --made-->  integration_event (key, body, number)  --published-->  the broker

Event rows are numbered under the lock of their chain's head, so whoever reads row n has every row before it. Numbers
are given in the transaction that moves the cursor: none is lost and none is given twice, whenever the hub dies. After
a restored backup the hub counts in a new epoch, which is part of the source: no number ever means two events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.integration.cloud_event import CloudEvent
from hub.integration.event_types import Named
from hub.integration.telling import Telling, telling
from hub.storage.database import is_postgres, write_tx
from hub.storage.models import Event, EventCursor, EventSource, IntegrationEvent, Project, new_row_id
from wire.crash import crash_point
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


@dataclass(frozen=True, slots=True)
class _Draft:
    """An event but for its number."""

    seq: int
    at: int
    source: str
    project: str | None
    key: str
    told: Telling


def make_events(origin: Origin, limit: int, fence: Callable[[], None]) -> int:
    """Make what is due of at most `limit` event rows; how many rows that were.

    All that is looked up is looked up before the transaction, which on SQLite keeps the engine from writing.

    Args:
        origin: Who speaks.
        limit: Of one transaction.
        fence: Raises, inside the transaction, where another node does this by now.
    """
    made: int = EventCursor.select(EventCursor.made).where(EventCursor.id == 1).scalar()
    rows = list(Event.select().where(Event.seq > made).order_by(Event.seq).limit(limit))
    if not rows:
        return 0
    drafts = [draft for row in rows if (draft := _draft(origin, row)) is not None]
    with write_tx():
        fence()
        if _locked_cursor().made != made:
            return 0  # Another node was faster.
        _store(origin, drafts)
        EventCursor.update(made=rows[-1].seq).where(EventCursor.id == 1).execute()
    crash_point("events.made")
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


def _locked_cursor() -> EventCursor:
    query = EventCursor.select().where(EventCursor.id == 1)
    found: EventCursor = (query.for_update() if is_postgres() else query).get()
    return found


def _draft(origin: Origin, row: Event) -> _Draft | None:
    told = telling(row)
    if told is None:
        return None
    project = told.project.id if told.project else None
    source = origin.source(project)
    words = (_project_word(project, source), _word(told.environment))
    return _Draft(row.seq, row.at, source, project, event_key(*words, told.type.entity, told.type.verb), told)


def _store(origin: Origin, drafts: Sequence[_Draft]) -> None:
    numbers: dict[str, int] = {}
    made = []
    for draft in drafts:
        numbers[draft.source] = numbers.get(draft.source) or _newest(draft)
        numbers[draft.source] += 1
        made.append(_row(origin, draft, numbers[draft.source]))
    if made:
        IntegrationEvent.insert_many(made).execute()
    for source, newest in numbers.items():
        EventSource.update(newest=newest).where(EventSource.source == source).execute()


def _newest(draft: _Draft) -> int:
    found: int | None = EventSource.select(EventSource.newest).where(EventSource.source == draft.source).scalar()
    if found is None:
        EventSource.insert(source=draft.source, project=draft.project, newest=0).execute()
    return found or 0


def _row(origin: Origin, draft: _Draft, sequence: int) -> dict[str, object]:
    told = draft.told
    event = CloudEvent(
        id=new_row_id(),
        source=draft.source,
        type=told.type.type,
        subject=told.subject,
        at_ms=draft.at,
        sequence=sequence,
        data_schema=origin.schema(told.type.name),
        correlation_id=told.correlation_id,
        data=told.data.model_dump(mode="json"),
    )
    return {
        "seq": draft.seq,
        "source": draft.source,
        "sequence": sequence,
        "type": told.type.type,
        "key": draft.key,
        "body": event.text(),
        "at": draft.at,
    }


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
