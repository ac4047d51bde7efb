"""MySQL and MariaDB, by their client. Changes of structure end a transaction there, so that a file may break halfway.

The row of the journal stands in the file's first transaction: a file without changes of structure is whole or nothing.
With the first such change the row says `started` for good, until the file's last statement has run.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from typing import Iterator, List

from runner.database import Database, Stamp, Tools, hex_of, wait_for_lock
from runner.database_client import Questions, private_file, program, run_client
from runner.errors import StepFailed
from runner.migrations import APPLIED, STARTED, Entry, Migration

_TABLE = (
    "CREATE TABLE {} (name VARCHAR(255) NOT NULL PRIMARY KEY, sha256 CHAR(64) NOT NULL, state VARCHAR(16) NOT NULL, "
    "applied_at DATETIME NOT NULL, release_version VARCHAR(255) NOT NULL, task VARCHAR(64) NOT NULL) "
    "ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;"
)
_COLUMNS = "name, sha256, state, release_version, DATE_FORMAT(applied_at, '%Y-%m-%dT%H:%i:%sZ')"
_CONNECT_S = 15
_COPY_BYTES = 1024 * 1024
_AT_LINE = re.compile(rb"(ERROR [0-9]+ \([0-9A-Z]+\)) at line ([0-9]+)")


class MysqlSession:
    def __init__(self, database: Database, tools: Tools) -> None:
        self._database, self._tools = database, tools
        client = program(["mariadb", "mysql"], tools, "mariadb-client")
        schema, _, table = database.journal.rpartition(".")
        self._schema, self._table = schema or database.name, table
        # A file may say USE, so the journal is named with its database.
        self.journal = f"`{self._schema.replace('`', '``')}`.`{table}`"
        options = private_file(tools.folder / "client.cnf", self._options(_is_mariadb(client, tools)))
        self._command = [client, f"--defaults-file={options}", "--batch", "--skip-column-names", "--skip-auto-rehash"]
        self._questions = Questions(
            [*self._command, "--unbuffered"], tools.environment, tools, lambda word: f"SELECT '{word}';"
        )
        try:
            self._questions.ask("SELECT 1;")
            if database.is_read_only:
                self._questions.ask("SET SESSION TRANSACTION READ ONLY;")
        except StepFailed:
            self._questions.close()
            raise

    def entries(self) -> List[Entry]:
        if not self._is_there():
            return []
        query = f"SELECT {_COLUMNS} FROM {self.journal} ORDER BY applied_at, name;"  # noqa: S608  a checked name
        return [Entry(*row) for row in self._questions.ask(query)]

    def take(self) -> None:
        # One name on a server, not in a database, and of 64 characters at most.
        lock = "manyarm." + hashlib.sha256(self.journal.encode()).hexdigest()[:40]
        wait_for_lock(
            lambda: self._questions.ask(f"SELECT GET_LOCK('{lock}', 0);") == [("1",)], self._database, self._tools
        )
        if not self._is_there():
            self._questions.ask(_TABLE.format(self.journal))

    def apply(self, migration: Migration, stamp: Stamp) -> None:
        # Whoever answers here holds the lock still.
        self._questions.ask("SELECT 1;")

        def reword(line: bytes) -> bytes:
            # Our own first line stands before the file's.
            return _AT_LINE.sub(lambda found: b"%s at line %d" % (found.group(1), int(found.group(2)) - 1), line)

        run_client(
            self._command,
            self._tools.environment,
            self._tools.files,
            given=self._given(migration, stamp),
            reword=lambda line: migration.name.encode() + b": " + reword(line),
        )
        states = {entry.name: entry.state for entry in self.entries()}
        if states.get(migration.name) != APPLIED:
            raise StepFailed("its last statement has no end, or it took back its own transaction")

    def close(self) -> None:
        self._questions.close()

    def _given(self, migration: Migration, stamp: Stamp) -> Iterator[bytes]:
        values = [hex_of(text) for text in (migration.name, migration.sha256, STARTED, stamp.release, stamp.task)]
        name, digest, state, release, task = (f"_utf8mb4 X'{value}'" for value in values)
        row = (
            f"INSERT INTO {self.journal} (name, sha256, state, applied_at, release_version, task) "  # noqa: S608  checked name, hex values
            f"VALUES ({name}, {digest}, {state}, UTC_TIMESTAMP(), {release}, {task});"
        )
        yield f"{'' if migration.is_alone else 'SET autocommit = 0; '}{row}\n".encode()
        with migration.path.open("rb") as stream:
            while piece := stream.read(_COPY_BYTES):
                yield piece
        # The first ends what the file left open, whatever mark it had given to the ends of its statements.
        yield b"\n\\g\nDELIMITER ;\n"
        applied = f"SET state = '{APPLIED}', applied_at = UTC_TIMESTAMP() WHERE name = {name};\n"
        yield f"UPDATE {self.journal} {applied}".encode()
        yield b"COMMIT;\n"

    def _is_there(self) -> bool:
        schema, table = (f"_utf8mb4 X'{hex_of(text)}'" for text in (self._schema, self._table))
        query = (
            f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {schema} AND table_name = {table};"  # noqa: S608  hex values
        )
        return self._questions.ask(query) != [("0",)]

    def _options(self, is_mariadb: bool) -> str:
        database = self._database
        options = [
            ("database", database.name),
            ("host" if not database.host.startswith("/") else "socket", database.host),
            ("port", str(database.port or "")),
            ("user", database.user),
            ("password", database.password),
            ("default-character-set", "utf8mb4"),
            ("connect-timeout", str(_CONNECT_S)),
            ("ssl-ca", database.ca_file),
        ]
        if is_mariadb:
            options.append(("ssl", "1" if database.tls != "default" else ""))
            options.append(("ssl-verify-server-cert", "1" if database.tls == "verify" else ""))
        else:
            modes = {"require": "REQUIRED", "verify": "VERIFY_IDENTITY"}
            options.append(("ssl-mode", modes.get(database.tls, "")))
        return "[client]\n" + "".join(f"{name}={_quoted(value)}\n" for name, value in options if value)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _is_mariadb(client: str, tools: Tools) -> bool:
    """The two clients look after TLS by different words."""
    ran = subprocess.run([client, "--version"], env=dict(tools.environment), capture_output=True, check=False)
    return b"mariadb" in ran.stdout.lower()


SESSION = MysqlSession
