"""What every table is made of: ids that we made, UTC milliseconds, JSON as canonical text, states as closed sets."""

import json
import secrets
import time
from enum import StrEnum
from typing import Any

from peewee import BigIntegerField, BlobField, CharField, DatabaseProxy, ForeignKeyField, Model, TextField

database_proxy = DatabaseProxy()

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def new_row_id() -> str:
    """16 random bytes: rowids are used again after a delete, ours never are."""
    return secrets.token_hex(16)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def canonical_json(value: Any) -> str:
    """ASCII, sorted, no spaces: equal values are equal text, and no NUL or lone surrogate reaches PostgreSQL."""
    return _ENCODER.encode(value)


class Table(Model):
    """The parent of all models."""

    class Meta:
        database = database_proxy
        legacy_table_names = False

    @classmethod
    def table_name(cls) -> str:
        return str(cls._meta.table_name)


class SealedTable(Table):
    """The parent of rows that grant something; hub/storage/seals.py signs and checks them.

    `SEALED` names the columns that the seal covers, besides table, id and version.
    """

    SEALED: tuple[str, ...] = ()

    seal = TextField(null=True)

    def sealed_id(self) -> str:
        return str(self.get_id())  # type: ignore[no-untyped-call]  # peewee.

    def sealed_version(self) -> int:
        """0 where rows are not counted (a release's `version` is its name)."""
        version = self.__data__.get("version", 0)
        return version if isinstance(version, int) else 0

    def sealed_value(self, column: str) -> Any:
        """As the database gives it back: a state is a word, JSON is canonical text, a reference is an id."""
        return self._meta.fields[column].db_value(self.__data__.get(column))


class IdField(CharField):
    """32 lowercase hex."""

    def __init__(self, max_length: int = 32, **options: Any) -> None:
        super().__init__(max_length=max_length, **options)


class RowId(IdField):
    """A primary key that is known before the insert, since ciphertexts are bound to it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(primary_key=True, default=new_row_id, **options)


class HashField(IdField):
    """64 lowercase hex."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=64, **options)


class AtField(BigIntegerField):
    """UTC milliseconds."""


class BytesField(BlobField):
    """Bytes, as bytes on either database."""

    def python_value(self, value: Any) -> bytes | None:
        # SQLite keeps a text where somebody wrote one: what reads it should find it altered, not fall over it.
        return value.encode() if isinstance(value, str) else None if value is None else bytes(value)


class JsonField(TextField):
    """Lists, dicts and scalars as canonical JSON text, which both databases keep alike."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else canonical_json(value)

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


class StateField(CharField):
    """One word of a closed set; another word never reaches the table."""

    def __init__(self, states: type[StrEnum], **options: Any) -> None:
        self.states = states
        super().__init__(max_length=24, **options)

    def db_value(self, value: Any) -> str | None:
        return None if value is None else str(self.states(value))

    def python_value(self, value: str | None) -> StrEnum | None:
        return None if value is None else self.states(value)


class RefField(ForeignKeyField):
    """A foreign key whose attribute is the id, unless a join filled in the row: no query behind a dot."""

    def __init__(self, model: Any, *, on_delete: str = "RESTRICT", **options: Any) -> None:
        super().__init__(model, lazy_load=False, on_delete=on_delete, **options)
