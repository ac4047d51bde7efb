"""PURE. SQL migrations and the journal of those that ran: which are due, in which order, and what stands against it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from runner.errors import StepFailed

APPLIED, STARTED = "applied", "started"
NAME_MAX_CHARS = 255
JOURNAL = re.compile(r"([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,62}\Z", re.ASCII)
# Quotes and backslashes mean something to the clients that are told a file's name.
_NAME = re.compile(r"[^\x00-\x1f\x7f'\"\\`]+\Z")
_HEAD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*", re.DOTALL)
_ALONE = re.compile(r"^[ \t]*--[ \t]*manyarm:[ \t]*no[ \t]+transaction[ \t]*$", re.MULTILINE | re.IGNORECASE)
_PIECES = re.compile(r"[0-9]+(?:[._-][0-9]+)*|[^0-9]+")
_HEAD_CHARS = 64 * 1024
_SET_APPLIED = f"SET state = '{APPLIED}' "


@dataclass(frozen=True)
class Migration:
    """One file. `name` is its path below the folder, by which the journal knows it; `sha256` is of its bytes as packed.

    `path` is what runs (the same, perhaps with values filled in); `is_alone`: it asked to run outside a transaction.
    """

    name: str
    path: Path
    sha256: str
    is_alone: bool


@dataclass(frozen=True)
class Entry:
    """One row of the journal."""

    name: str
    sha256: str
    state: str
    release: str
    applied_at: str


@dataclass(frozen=True)
class Rules:
    """How files are ordered, what a file that differs from what ran means, and whether a new one may come too late."""

    is_natural: bool
    fails_when_changed: bool
    in_any_order: bool


@dataclass(frozen=True)
class Due:
    """What is to run, in order, and what a person should know."""

    pending: Tuple[Migration, ...]
    warnings: Tuple[str, ...]


def due(migrations: Sequence[Migration], entries: Sequence[Entry], rules: Rules, journal: str) -> Due:
    """Compare files, in their order, with the journal.

    Raises:
        StepFailed: a migration is half done, was changed after it ran, or comes too late for its place.
    """
    for entry in entries:
        if entry.state != APPLIED:
            raise StepFailed(half_done(entry, journal))
    known: Dict[str, Entry] = {entry.name: entry for entry in entries}
    warnings: List[str] = []
    for migration in migrations:
        ran = known.get(migration.name)
        if ran is not None and ran.sha256 != migration.sha256:
            sentence = (
                f"{migration.name} was changed after it ran: its SHA-256 is {migration.sha256} now, and was "
                f"{ran.sha256} when release {ran.release} ran it at {ran.applied_at}"
            )
            if rules.fails_when_changed:
                raise StepFailed(f"{sentence}; put the change into a new file")
            warnings.append(f"{sentence}; it is not run again")
    pending = tuple(migration for migration in migrations if migration.name not in known)
    warnings += _out_of_order(pending, entries, rules)
    here = {migration.name for migration in migrations}
    gone = [entry for entry in entries if entry.name not in here]
    gone.sort(key=lambda entry: order_key(entry.name, is_natural=rules.is_natural))
    if gone:
        warnings.append(
            f"{len(gone)} of the journal's migrations are not among these files, the last one {gone[-1].name} "
            f"(release {gone[-1].release}): the database is ahead of this release"
        )
    return Due(pending, tuple(warnings))


def _out_of_order(pending: Sequence[Migration], entries: Sequence[Entry], rules: Rules) -> List[str]:
    if not entries:
        return []
    last = max((entry.name for entry in entries), key=lambda name: order_key(name, is_natural=rules.is_natural))
    after = order_key(last, is_natural=rules.is_natural)
    late = [one.name for one in pending if order_key(one.name, is_natural=rules.is_natural) < after]
    if late and not rules.in_any_order:
        raise StepFailed(
            f"{late[0]} is new, and its place is before {last}, which ran already; rename it, or allow it with "
            "`out_of_order: run`"
        )
    return [f"{name} runs after {last}, though its place is before it" for name in late]


def half_done(entry: Entry, journal: str) -> str:
    """What a person is to do about a migration that was begun, in the words of the database."""
    row = f"{journal} %sWHERE name = '{entry.name}'"
    finished, taken_back = "UPDATE " + row % _SET_APPLIED, "DELETE FROM " + row % ""  # noqa: S608  words for a person
    return (
        f"{entry.name} was begun by release {entry.release} at {entry.applied_at} and did not come to its end: a part "
        "of it may be in the database. Look at what is there; then either finish it by hand and say so "
        f"({finished}), or take it back by hand and say so ({taken_back}), and deploy again"
    )


def order_key(name: str, *, is_natural: bool) -> Tuple[object, ...]:
    """Folder by folder; naturally `2` comes before `10`, and `1` before `1.1` and `1_1`, whatever zeros lead."""
    if not is_natural:
        return (name,)
    return (tuple(tuple(map(_piece, _PIECES.findall(part))) for part in name.casefold().split("/")), name)


def _piece(text: str) -> Tuple[int, Tuple[Tuple[int, str], ...], str]:
    if text[0] not in "0123456789":
        return (1, (), text)
    numbers = (number.lstrip("0") for number in re.split("[._-]", text))
    return (0, tuple((len(number), number) for number in numbers), "")


def fault_of_name(name: str) -> str:
    """Why a file cannot be a migration by this name; empty where it can."""
    if len(name) > NAME_MAX_CHARS:
        return f"its name has over {NAME_MAX_CHARS} characters"
    return "" if _NAME.match(name) else "its name holds a quote, a backslash or a control character"


def asks_to_run_alone(text: str) -> bool:
    """Whether the comments at a file's beginning hold the line `-- manyarm: no transaction`."""
    return bool(_ALONE.search(head_of(text.lstrip("\ufeff"))))


def head_of(text: str) -> str:
    """The spaces and comments at a text's beginning."""
    found = _HEAD.match(text[:_HEAD_CHARS])
    return found.group() if found else ""
