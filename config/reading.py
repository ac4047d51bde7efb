"""Reads a frozen settings class from a TOML file, then from the environment, and names every fault at once.

A field of the class is a key of the file and, in capitals behind a prefix, a name in the environment: `broker_bind`
is `broker_bind` in the file and `MANYARM_BROKER_BIND` outside; a field of the nested `limits` is a key under `[limits]`
and `MANYARM_LIMIT_<NAME>`. The environment wins over the file, the file over the default.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from config.errors import SettingsInvalid

Settings = TypeVar("Settings")
_WORDS: dict[type[Any], str] = {str: "a text", int: "a whole number", bool: "true or false", list: "a list of texts"}


def read_settings(cls: type[Settings], file: Path, environ: Mapping[str, str], prefix: str, **given: Any) -> Settings:
    """An instance of cls from file and environment; `given` fields are passed on as they are.

    Raises:
        SettingsInvalid: With one sentence for each unknown key, wrong type, unreadable line or broken relation.
    """
    reading = _Reading(file, environ)
    table = reading.table()
    limits_class = _types(cls)["limits"]
    limits = reading.fields(limits_class, table.pop("limits", {}), f"{prefix}LIMIT_", leave_out=set())
    fields = reading.fields(cls, table, prefix, leave_out={"limits", *given})
    if reading.faults:
        raise SettingsInvalid(tuple(reading.faults))
    try:
        everything: dict[str, Any] = {**fields, **given, "limits": limits_class(**limits)}
        return cls(**everything)
    except ValueError as error:
        raise SettingsInvalid((f"settings ({file} and {prefix}…): {error}",)) from error


def _types(cls: type[Any]) -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(cls)}


class _Reading:
    """One reading of a file and an environment, with the faults found on the way."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ
        self._text = ""
        self.faults: list[str] = []

    def table(self) -> dict[str, Any]:
        if not self._file.exists():
            return {}
        try:
            self._text = self._file.read_text(encoding="utf-8")
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            self.faults.append(f'{self._file}: {error}; expected TOML such as  key = "value"')
        except (OSError, UnicodeDecodeError) as error:
            self.faults.append(f"{self._file}: cannot be read ({error}); mend its rights or its encoding (UTF-8)")
        return {}

    def fields(self, cls: type[Any], table: Any, prefix: str, leave_out: set[str]) -> dict[str, Any]:
        known = {name: kind for name, kind in _types(cls).items() if name not in leave_out}
        found: dict[str, Any] = {}
        for key, value in table.items() if isinstance(table, dict) else ():
            place = f"{self._file}{self._line_of(key)}"
            if key in known:
                self._take(found, key, value, known[key], place)
            else:
                self.faults.append(f"{place}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        for name, kind in known.items():
            outside = self._environ.get(prefix + name.upper())
            if outside is not None:
                self._take(found, name, _from_text(outside, kind), kind, prefix + name.upper())
        return found

    def _line_of(self, key: str) -> str:
        match = re.search(rf"^[ \t]*{re.escape(key)}\s*=", self._text, re.MULTILINE)
        return f":{self._text.count(chr(10), 0, match.start()) + 1}" if match else ""

    def _take(self, found: dict[str, Any], key: str, value: Any, kind: Any, place: str) -> None:
        wanted = kind if kind in _WORDS else list
        fits = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
        if not fits or (wanted is list and not all(isinstance(item, str) for item in value)):
            self.faults.append(f"{place}: {key} is {value!r}; expected {_WORDS[wanted]}")
            return
        found[key] = tuple(value) if wanted is list else value


def _from_text(text: str, kind: Any) -> Any:
    if kind is int and re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if kind is bool and text.lower() in {"true", "false", "1", "0", "on", "off"}:
        return text.lower() in {"true", "1", "on"}
    if kind not in _WORDS:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text
