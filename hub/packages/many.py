"""Queries about thousands of chunk ids at once: the ids travel as one value, so that none costs a variable."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from peewee import SQL, Expression, Field

from hub.storage.database import is_postgres

# Variables of one insert stay far below what either database takes.
_ROWS = 1_000
_Row = TypeVar("_Row")


def among(column: Field, ids: Iterable[str]) -> Expression:
    """Whether the column holds one of the ids."""
    listed = json.dumps(list(ids))
    if is_postgres():
        return column.in_(SQL("(SELECT jsonb_array_elements_text(CAST(%s AS jsonb)))", [listed]))
    return column.in_(SQL("(SELECT value FROM json_each(?))", [listed]))


def tuples_of(query: Any) -> Iterable[tuple[Any, ...]]:
    """The rows of a query as tuples of the columns that it names, without an object for each."""
    rows: Iterable[tuple[Any, ...]] = query.tuples()
    return rows


def parts_of(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """As many as one insert takes."""
    return (rows[at : at + _ROWS] for at in range(0, len(rows), _ROWS))
