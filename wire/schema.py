"""Dataclasses as schemas: the annotation of a field is the rule for it, in both directions. PURE.

    name: Annotated[str, Text(80)]
    limits: Limits                     another dataclass
    job: FreeJson                      any JSON object
    jobs: Annotated[tuple[Id, ...], Many(500)]
    exit_code: Annotated[int, Whole(-1024, 1024)] | None

Reading refuses unknown, missing and wrong fields by their dotted path (ENV_SCHEMA); it never converts.

A field that a later release adds has a default, by which the releases before and after it understand one another: it
may be absent, and is not written while it holds its default. What says more than that goes only to whom it is known to.
"""

import re
import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from wire.canonical import INTEGER_MAX, JsonObject, JsonValue
from wire.errors import Code, Refused, field_name

Body = TypeVar("Body")
_AS_IT_IS = frozenset({str, int, bool, type(None), dict, list})
Reader = Callable[[JsonValue, str], Any]


@dataclass(frozen=True, slots=True)
class Text:
    """At most so many characters; all of them matched by the pattern, if one is given."""

    most: int
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from `least` to `most`, both included."""

    least: int = 0
    most: int = INTEGER_MAX


@dataclass(frozen=True, slots=True)
class Many:
    """At most so many members, and (of a dict) names of at most so many characters."""

    most: int
    name_most: int = 200


@dataclass(frozen=True, slots=True)
class Free:
    """An object with at most so many names, whose values are another's business."""

    most: int


Id = Annotated[str, Text(32, "[0-9a-f]{32}")]
IdOrEmpty = Annotated[str, Text(32, "([0-9a-f]{32})?")]
Digest = Annotated[str, Text(64, "[0-9a-f]{64}")]
Count = Annotated[int, Whole()]
FreeJson = Annotated[dict[str, Any], Free(200)]


def read(cls: type[Body], value: JsonValue) -> Body:
    """The dataclass that this JSON object spells; Refused(ENV_SCHEMA) naming the field."""
    form: Any = cls
    made: Body = _reader_of(form)(value, "")
    return made


def write(value: Any) -> JsonValue:
    """The JSON of a dataclass of this kind."""
    kind = type(value)
    if kind in _AS_IT_IS:
        json: JsonValue = value
        return json
    if kind is tuple:
        return [write(member) for member in value]
    if isinstance(value, StrEnum):
        return value.value
    if not is_dataclass(kind):
        return value  # type: ignore[no-any-return]  # A number, say, of a type of its own.
    added = _added_in(kind)
    written = {name: write(getattr(value, name)) for name in _names_of(kind)}
    for name, default in added.items():
        if getattr(value, name) == default:
            del written[name]
    return written


def write_object(value: Any) -> JsonObject:
    """The JSON object of a dataclass."""
    written = write(value)
    assert isinstance(written, dict)
    return written


@cache
def _names_of(kind: Any) -> tuple[str, ...]:
    return tuple(part.name for part in fields(kind))


@cache
def _added_in(kind: Any) -> dict[str, Any]:
    """The fields that may be absent, and what they hold then."""
    return {part.name: part.default for part in fields(kind) if part.default is not MISSING}


@cache
def _reader_of(form: Any) -> Reader:
    """A reader for one annotation, built once."""
    origin = get_origin(form)
    if origin is Annotated:
        base, *rules = get_args(form)
        return _ruled_reader(base, rules[0])
    if origin in (Union, types.UnionType):
        return _optional_reader(form)
    if form is bool:
        return _read_flag
    if isinstance(form, type) and issubclass(form, StrEnum):
        return _word_reader(form)
    if is_dataclass(form):
        return _object_reader(form)
    raise TypeError(f"no rule for {form!r}: annotate it")


def _ruled_reader(base: Any, rule: Any) -> Reader:
    if base is str and isinstance(rule, Text):
        return _text_reader(rule)
    if base is int and isinstance(rule, Whole):
        return _whole_reader(rule)
    if isinstance(rule, Many):
        if get_origin(base) is tuple:
            return _tuple_reader(_reader_of(get_args(base)[0]), rule)
        return _table_reader(_reader_of(get_args(base)[1]), rule)
    if isinstance(rule, Free):
        return _table_reader(lambda value, _: value, Many(rule.most))
    raise TypeError(f"no rule for {base!r} with {rule!r}")


def _text_reader(rule: Text) -> Reader:
    pattern = re.compile(rule.pattern) if rule.pattern else None

    def read_text(value: JsonValue, path: str) -> str:
        if type(value) is not str:
            raise _wrong(path, "a text")
        if len(value) > rule.most:
            raise _wrong(path, f"at most {rule.most} characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise _wrong(path, "another form of text")
        return value

    return read_text


def _whole_reader(rule: Whole) -> Reader:
    def read_whole(value: JsonValue, path: str) -> int:
        if type(value) is not int or not rule.least <= value <= rule.most:
            raise _wrong(path, f"an integer from {rule.least} to {rule.most}")
        return value

    return read_whole


def _read_flag(value: JsonValue, path: str) -> bool:
    if type(value) is not bool:
        raise _wrong(path, "true or false")
    return value


def _word_reader(words: type[StrEnum]) -> Reader:
    known = {str(word): word for word in words}

    def read_word(value: JsonValue, path: str) -> StrEnum:
        found = known.get(value) if type(value) is str else None
        if found is None:
            raise _wrong(path, "one of " + ", ".join(known))
        return found

    return read_word


def _optional_reader(form: Any) -> Reader:
    (inner,) = [part for part in get_args(form) if part is not type(None)]
    read_inner = _reader_of(inner)
    return lambda value, path: None if value is None else read_inner(value, path)


def _tuple_reader(read_member: Reader, rule: Many) -> Reader:
    def read_tuple(value: JsonValue, path: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _wrong(path, "a list")
        if len(value) > rule.most:
            raise _wrong(path, f"at most {rule.most} members")
        return tuple(read_member(member, f"{path}[{at}]") for at, member in enumerate(value))

    return read_tuple


def _table_reader(read_member: Reader, rule: Many) -> Reader:
    def read_table(value: JsonValue, path: str) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong(path, "an object")
        if len(value) > rule.most:
            raise _wrong(path, f"at most {rule.most} members")
        if any(type(name) is not str or len(name) > rule.name_most for name in value):
            raise _wrong(path, f"names that are texts of at most {rule.name_most} characters")
        return {name: read_member(member, f"{path}.{field_name(name)}") for name, member in value.items()}

    return read_table


def _object_reader(cls: Any) -> Reader:
    hints = get_type_hints(cls, include_extras=True)
    readers = {part.name: _reader_of(hints[part.name]) for part in fields(cls)}
    added = _added_in(cls)

    def read_object(value: JsonValue, path: str) -> Any:
        if type(value) is not dict:
            raise _wrong(path or "body", "an object")
        prefix = f"{path}." if path else ""
        _compare_names(value, readers.keys(), added, prefix)
        return cls(**{name: one(value[name], prefix + name) for name, one in readers.items() if name in value})

    return read_object


def _compare_names(value: JsonObject, known: Any, added: Any, prefix: str) -> None:
    for name in sorted((value.keys() ^ known) - (added.keys() - value.keys())):
        what = "missing field" if name in known else "unknown field"
        raise Refused(Code.ENV_SCHEMA, what, field=prefix + field_name(name))


def _wrong(path: str, expected: str) -> Refused:
    return Refused(Code.ENV_SCHEMA, f"expected {expected}", field=path)
