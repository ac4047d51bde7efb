"""Statements that peewee spells once and that run again and again: for what happens with each intent, job and frame.

peewee spells a statement anew each time it runs, which costs ten times the run. Here its own expressions are spelled
once for each kind of database, with holes where the values go:

    _USER = PreparedRows(User, lambda: User.select().where(User.id == hole("id")))
    user = _USER.one(id=user_id)

Values go in as the database keeps them: texts, states as their text, numbers, bytes, None; JSON as canonical text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

import peewee
from peewee import Model, Value

from hub.storage.database import is_postgres
from hub.storage.models.table import database_proxy

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class _Hole:
    """Where a value goes; of a list of values, which one."""

    name: str
    index: int | None = None


def hole(name: str) -> Any:
    """A place for one value, in an expression of peewee's."""
    return Value(_Hole(name), converter=False, unpack=False)


def holes(name: str, count: int) -> list[Any]:
    """Places for so many values, for `in_`."""
    return [Value(_Hole(name, index), converter=False, unpack=False) for index in range(count)]


@dataclass(frozen=True, slots=True)
class _Spelled:
    sql: str
    parts: tuple[Any, ...]
    """What is bound, in order: a `_Hole`, or the value itself."""


class Prepared:
    """One statement.

    Args:
        build: Makes the query. Where it has a list of holes it takes their number.
        many: The name of that list; "" for none.
    """

    def __init__(self, build: Callable[..., Any], many: str = "") -> None:
        self._build = build
        self._many = many
        self._spelled: dict[tuple[bool, int], _Spelled] = {}

    def tuples(self, **values: Any) -> list[tuple[Any, ...]]:
        """All rows, their columns as the database keeps them."""
        found: list[tuple[Any, ...]] = self._execute(values).fetchall()
        return found

    def first(self, **values: Any) -> tuple[Any, ...] | None:
        """The first row, alike; None where there is none."""
        found: tuple[Any, ...] | None = self._execute(values).fetchone()
        return found

    def run(self, **values: Any) -> int:
        """How many rows were changed."""
        return int(self._execute(values).rowcount)

    def run_each(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Once for each row of values."""
        spelled = self._spell(0)
        bound = [_bound(spelled.parts, row) for row in rows]
        if bound:
            cursor = database_proxy.obj.cursor()
            with peewee.__exception_wrapper__:  # type: ignore[attr-defined]  # As peewee itself does around a cursor.
                cursor.executemany(spelled.sql, bound)

    def _execute(self, values: Mapping[str, Any]) -> Any:
        count = 0
        if self._many:
            # A text for each number of values would be many: the last one is said again up to a power of two.
            given = list(values[self._many])
            if not given:
                given = [None]
            count = 1 << (len(given) - 1).bit_length()
            values = {**values, self._many: given + given[-1:] * (count - len(given))}
        spelled = self._spell(count)
        return database_proxy.obj.execute_sql(spelled.sql, _bound(spelled.parts, values))

    def _spell(self, count: int) -> _Spelled:
        key = (is_postgres(), count)
        found = self._spelled.get(key)
        if found is None:
            query = self._build(count) if self._many else self._build()
            sql, parts = database_proxy.obj.get_sql_context().sql(query).query()
            found = self._spelled[key] = _Spelled(sql, tuple(parts))
        return found


class PreparedRows(Prepared, Generic[M]):
    """A select of one model's columns, whose rows are objects of that model."""

    def __init__(self, model: type[M], build: Callable[..., Any], many: str = "") -> None:
        super().__init__(build, many)
        self._model = model
        self._columns: list[tuple[str, Any]] | None = None

    def all(self, **values: Any) -> list[M]:
        return [self._row(found) for found in self.tuples(**values)]

    def one(self, **values: Any) -> M | None:
        """The first row; None where there is none."""
        found = self.first(**values)
        return None if found is None else self._row(found)

    def _row(self, found: Sequence[Any]) -> M:
        columns = self._columns
        if columns is None:
            query = self._build(1) if self._many else self._build()
            # peewee's own name for what is selected; there is no public one.
            selected = [column.unwrap() for column in query._returning]  # noqa: SLF001
            columns = self._columns = [(column.name, column.python_value) for column in selected]
        row = self._model(__no_default__=1)
        row.__data__ = {name: read(value) for (name, read), value in zip(columns, found, strict=True)}
        return row


def _bound(parts: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
    bound: list[Any] = []
    for part in parts:
        if type(part) is _Hole:
            value = values[part.name] if part.index is None else values[part.name][part.index]
            bound.append(str(value) if isinstance(value, Enum) else value)
        else:
            bound.append(part)
    return bound
