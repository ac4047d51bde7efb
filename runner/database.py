"""What migrations need of a database engine: a session that reads the journal, holds a lock, and runs a file.

A row of the journal is written *before* its file runs, in the same transaction, as `started`, and becomes `applied` in
it after the file's last statement. So, whatever ends the two, either nothing of them is left or the row says `started`
and nothing runs on top of it. What takes no transaction (a file that asks for that; changes of structure on MySQL)
leaves `started` behind when it breaks; what does take one leaves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Mapping, Protocol

from runner.errors import StepFailed
from runner.migrations import Entry, Migration

_POLL_S = 0.5


@dataclass(frozen=True)
class Database:
    """Where it is, and who asks.

    Args:
        name: Of SQLite the absolute path of its file.
        host: A name, an address, or the directory (MySQL: the file) of a Unix socket; empty: this machine's.
        port: 0: the engine's own.
        tls: `default`, `require` or `verify`.
        journal: The table, perhaps with a schema before a dot.
        wait_s: How long another deployment may hold the lock.
        is_read_only: Nothing may be written, not even the journal.
    """

    name: str
    host: str
    port: int
    user: str
    password: str
    tls: str
    ca_file: str
    journal: str
    wait_s: int
    is_read_only: bool


@dataclass(frozen=True)
class Tools:
    """What a session may use of its job.

    Args:
        environment: Of the programs that it starts.
        path: Where these are looked for.
        folder: A private folder that is gone after the job: for passwords.
        files: The folder in which migrations lie.
        say: Tells the log.
    """

    environment: Mapping[str, str]
    path: str
    folder: Path
    files: Path
    say: Callable[[str], None]


@dataclass(frozen=True)
class Stamp:
    """What the journal keeps of a run beside the file."""

    release: str
    task: str


class Session(Protocol):
    @property
    def journal(self) -> str:
        """The journal's full name, as a person would write it in a statement."""

    def entries(self) -> List[Entry]:
        """The rows of the journal; none where there is no such table yet."""

    def take(self) -> None:
        """Wait for the lock and make the journal where it is missing.

        Raises:
            StepFailed: another deployment kept it for longer than `wait_s`, or the journal cannot be made.
        """

    def apply(self, migration: Migration, stamp: Stamp) -> None:
        """Run one file and write its row.

        Raises:
            StepFailed: with the database's words; what is left of it, `entries` tells.
        """

    def close(self) -> None: ...


def wait_for_lock(is_taken: Callable[[], bool], database: Database, tools: Tools) -> None:
    """Return once the lock is ours.

    Raises:
        StepFailed: it was not for `wait_s` seconds.
    """
    ends_at = time.monotonic() + database.wait_s
    is_told = False
    while not is_taken():
        if time.monotonic() >= ends_at:
            raise StepFailed(
                f"another deployment runs migrations on {database.name}, and did not end in {database.wait_s} s"
            )
        if not is_told:
            tools.say(f"waiting for another deployment that runs migrations on {database.name}")
        is_told = True
        time.sleep(_POLL_S)


def hex_of(text: str) -> str:
    """A text's UTF-8 in hexadecimal digits: the one way of writing it that every engine reads alike."""
    return text.encode("utf-8").hex()
