"""Pages of rows: keyset cursors, so that a far page is cheap and rows that come in between shift nothing."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from peewee import Field, ModelSelect
from pydantic import BaseModel

from hub.errors import Invalid
from hub.operations.body import Reply

T = TypeVar("T", bound=BaseModel)

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class Page(Reply, Generic[T]):
    """`next` goes into `?after=`; null: this was the last page."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    after: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """By one column, then by id, so that the order is total."""

    column: Field
    key: Field
    newest_first: bool = False


def page(query: "ModelSelect[Any]", order: Order, part: Slice, view: Callable[[Any], T]) -> Page[T]:
    """Cut one page out of a query and show its rows.

    Raises:
        Invalid: the cursor is none of ours.
    """
    if part.after:
        value, key = _opened(part.after)
        column = order.column
        beyond = (column < value) if order.newest_first else (column > value)
        beyond_key = (order.key < key) if order.newest_first else (order.key > key)
        query = query.where(beyond | ((column == value) & beyond_key))
    sorting = (order.column.desc(), order.key.desc()) if order.newest_first else (order.column, order.key)
    rows = list(query.order_by(*sorting).limit(part.limit + 1))
    following = _cursor(rows[part.limit - 1], order) if len(rows) > part.limit else None
    return Page(items=[view(row) for row in rows[: part.limit]], next=following)


def at_text(at_ms: int | None) -> str | None:
    """UTC milliseconds as RFC 3339 with a Z."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_text(at_ms: int) -> str:
    """The same of a time that is always there."""
    return str(at_text(at_ms))


def _cursor(row: Any, order: Order) -> str:
    mark = [getattr(row, order.column.name), getattr(row, order.key.name)]
    return base64.urlsafe_b64encode(json.dumps(mark).encode()).decode().rstrip("=")


def _opened(cursor: str) -> tuple[str | int, str | int]:
    try:
        mark = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise Invalid("expected a cursor that a list gave as next", field="after") from error
    if not isinstance(mark, list) or len(mark) != 2 or not all(_plain(part) for part in mark):
        raise Invalid("expected a cursor that a list gave as next", field="after")
    return mark[0], mark[1]


def _plain(part: Any) -> bool:
    if isinstance(part, str):
        return "\0" not in part and len(part) <= 500 and part.isprintable()
    return isinstance(part, int) and not isinstance(part, bool) and abs(part) < 2**63
