"""A strict reader of our JSON Schemas: what a schema does not name is a fault, and so is a keyword that is not read here."""

import re
from collections.abc import Iterator
from typing import Any

_NOTES = {"title", "description", "$schema", "$id", "$defs", "default", "format"}
_TYPES = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}
_LENGTHS = {
    "minLength": lambda value, limit: len(value) >= limit,
    "maxLength": lambda value, limit: len(value) <= limit,
    "minItems": lambda value, limit: len(value) >= limit,
    "maxItems": lambda value, limit: len(value) <= limit,
    "maxProperties": lambda value, limit: len(value) <= limit,
    "const": lambda value, wanted: value == wanted,
    "enum": lambda value, wanted: value in wanted,
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
}


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value; empty: it is as the schema says, and says nothing more."""
    return list(_faults(schema, value, schema, "$"))


def _faults(schema: dict[str, Any], value: Any, root: dict[str, Any], at: str) -> Iterator[str]:
    for word, wanted in schema.items():
        if word in _LENGTHS:
            if not _LENGTHS[word](value, wanted):
                yield f"{at}: {word} {wanted}: {value!r}"
        elif word == "type":
            if not _TYPES[wanted](value):
                yield f"{at}: no {wanted}: {value!r}"
                return
        elif word == "$ref":
            yield from _faults(root["$defs"][wanted.rpartition("/")[2]], value, root, at)
        elif word == "anyOf":
            if all(list(_faults(each, value, root, at)) for each in wanted):
                yield f"{at}: none of the choices: {value!r}"
        elif word == "required":
            yield from (f"{at}: {name} is missing" for name in wanted if name not in value)
        elif word in {"properties", "additionalProperties"}:
            continue
        elif word == "patternProperties":
            for pattern, each in wanted.items():
                for name in (name for name in value if re.search(pattern, name)):
                    yield from _faults(each, value[name], root, f"{at}.{name}")
        elif word == "items":
            for index, item in enumerate(value):
                yield from _faults(wanted, item, root, f"{at}[{index}]")
        elif word == "propertyNames":
            for name in value:
                yield from _faults(wanted, name, root, f"{at} name")
        elif word not in _NOTES:
            yield f"{at}: the keyword {word} is not read here"
    if "properties" in schema:
        for name, found in value.items():
            if name in schema["properties"]:
                yield from _faults(schema["properties"][name], found, root, f"{at}.{name}")
            elif not schema.get("additionalProperties"):
                yield f"{at}: {name} is named nowhere"
    elif isinstance(schema.get("additionalProperties"), dict):
        for name, found in value.items():
            yield from _faults(schema["additionalProperties"], found, root, f"{at}.{name}")
