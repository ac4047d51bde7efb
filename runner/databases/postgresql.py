"""PostgreSQL, by psql: each file and its row of the journal are one transaction; an advisory lock for the step."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, List

from runner.database import Database, Stamp, Tools, hex_of, wait_for_lock
from runner.database_client import Questions, private_file, program, run_client
from runner.errors import StepFailed
from runner.migrations import APPLIED, STARTED, Entry, Migration

_TABLE = (
    "CREATE TABLE {} (name text PRIMARY KEY, sha256 text NOT NULL, state text NOT NULL, "
    "applied_at timestamptz NOT NULL, release_version text NOT NULL, task text NOT NULL);"
)
_COLUMNS = (
    "name, sha256, state, release_version, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
)
_TLS = {"require": "require", "verify": "verify-full"}
_CONNECT_S = 15
# Servers before version 14 do not know how.
_LOOK_AFTER_CLIENT = (
    "SELECT set_config(name, '2000', false) FROM pg_catalog.pg_settings "
    "WHERE name = 'client_connection_check_interval' \\g /dev/null"
)


class PostgresqlSession:
    def __init__(self, database: Database, tools: Tools) -> None:
        self._database, self._tools = database, tools
        psql = program(["psql"], tools, "postgresql-client")
        self._command = [psql, "-X", "-q", "-w", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        self._environment = self._environ()
        self._count = 0
        self._questions = Questions(self._command, self._environment, tools, lambda word: f"\\echo {word}")
        self.journal = database.journal
        try:
            self._questions.ask("SET client_min_messages = warning;")
            self._find_journal()
        except StepFailed:
            self._questions.close()
            raise

    def entries(self) -> List[Entry]:
        if not self._find_journal():
            return []
        query = f"SELECT {_COLUMNS} FROM {self.journal} ORDER BY applied_at, name"  # noqa: S608  quoted by the server
        return [Entry(*row) for row in self._questions.ask(f"COPY ({query}) TO STDOUT;")]

    def take(self) -> None:
        key = int.from_bytes(hashlib.sha256(self._database.journal.encode()).digest()[:8], "big", signed=True)
        wait_for_lock(
            lambda: self._questions.ask(f"SELECT pg_try_advisory_lock({key});") == [("t",)], self._database, self._tools
        )
        if not self._find_journal():
            self._questions.ask(_TABLE.format(self._database.journal))
            self._find_journal()

    def apply(self, migration: Migration, stamp: Stamp) -> None:
        # Whoever answers here holds the lock still.
        self._questions.ask("SELECT 1;")
        self._count += 1
        script = private_file(self._tools.folder / f"{self._count}.psql", self._script(migration, stamp))
        run_client([*self._command, "-f", str(script)], self._environment, self._tools.files)
        states = {entry.name: entry.state for entry in self.entries()}
        if states.get(migration.name) != APPLIED:
            raise StepFailed("it took back its own transaction")

    def close(self) -> None:
        self._questions.close()

    def _script(self, migration: Migration, stamp: Stamp) -> str:
        """The file between the two halves of its row; names of roles and schemas are what the file made of them."""
        values = [hex_of(text) for text in (migration.name, migration.sha256, STARTED, stamp.release, stamp.task)]
        name, digest, state, release, task = (f"convert_from(decode('{value}', 'hex'), 'UTF8')" for value in values)
        table = self.journal
        return "\n".join(
            (
                # A statement whose client was ended ends too, instead of holding its locks until it is through.
                _LOOK_AFTER_CLIENT,
                "" if migration.is_alone else "BEGIN;",
                f"INSERT INTO {table} (name, sha256, state, applied_at, release_version, task) "  # noqa: S608  quoted by the server, hex values
                f"VALUES ({name}, {digest}, {state}, clock_timestamp(), {release}, {task});",
                f"\\i './{migration.name}'",
                "\\set ON_ERROR_STOP 1",
                "\\set QUIET 1",
                "SET client_min_messages = error;",
                "RESET ROLE;",
                f"UPDATE {table} SET state = '{APPLIED}', applied_at = clock_timestamp() WHERE name = {name};",  # noqa: S608  the same
                "" if migration.is_alone else "COMMIT;",
                "",
            )
        )

    def _find_journal(self) -> bool:
        """Whether the table is there; from then on it is named with its schema, for files change search paths."""
        found = self._questions.ask(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "  # noqa: S608  a checked name
            f"ON n.oid = c.relnamespace WHERE c.oid = to_regclass('{self._database.journal}');"
        )
        if found:
            self.journal = found[0][0]
        return bool(found)

    def _environ(self) -> Dict[str, str]:
        database = self._database
        options = {
            "PGDATABASE": database.name,
            "PGHOST": database.host,
            "PGPORT": str(database.port or ""),
            "PGUSER": database.user,
            "PGSSLMODE": _TLS.get(database.tls, ""),
            "PGSSLROOTCERT": database.ca_file,
            "PGOPTIONS": "-c default_transaction_read_only=on" if database.is_read_only else "",
            "PGAPPNAME": "manyarm",
            "PGCLIENTENCODING": "UTF8",
            "PGCONNECT_TIMEOUT": str(_CONNECT_S),
            "PGPASSFILE": str(self._password_file()) if database.password else "",
        }
        return {**self._tools.environment, **{name: value for name, value in options.items() if value}}

    def _password_file(self) -> Path:
        if "\n" in self._database.password or "\r" in self._database.password:
            raise StepFailed("psql takes no password with a line's end in it")
        escaped = self._database.password.replace("\\", "\\\\").replace(":", "\\:")
        return private_file(self._tools.folder / "pgpass", f"*:*:*:*:{escaped}\n")


SESSION = PostgresqlSession
