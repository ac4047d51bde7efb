"""How reading commands print: a table on a terminal, tab-separated lines into a pipe, JSON when asked."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click


def as_json(found: Any) -> None:
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """One row a line under the names of the columns; what is missing shows as a dash."""
    lines = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            click.echo("\t".join(line))
        return
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(columns))]
    for line in [heads, *lines]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if not lines:
        click.echo("(none)", err=True)


def plain(text: str) -> str:
    """Text from a target with everything that a terminal would obey made visible or dropped; colours may stay."""
    return "".join(_shown(text))


def _shown(text: str) -> Iterable[str]:
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\x1b":
            end = _colour_end(text, position)
            if end:
                yield text[position:end]
                position = end
                continue
        if character == "\t" or (
            character.isprintable() and character not in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"
        ):
            yield character
        else:
            yield "\N{REPLACEMENT CHARACTER}"
        position += 1


def _colour_end(text: str, start: int) -> int:
    """Where a colour sequence that starts here ends, or 0 if it is another one."""
    if not text.startswith("\x1b[", start):
        return 0
    position = start + 2
    while position < min(len(text), start + 20) and text[position] in "0123456789;":
        position += 1
    return position + 1 if position < len(text) and text[position] == "m" else 0


def _cell(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(_cell(item) for item in value)
    if isinstance(value, Mapping):
        return str(value.get("name") or value.get("id") or json.dumps(value))
    return plain(str(value))


def since(moment: str | None) -> str:
    """How long ago, in words; the moment is RFC 3339."""
    if not moment:
        return "never"
    seconds = int(time.time() - datetime.fromisoformat(moment).astimezone(UTC).timestamp())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"
