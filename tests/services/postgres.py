"""A private PostgreSQL cluster for the tests: one a session, on a free loopback port, a fresh database for each asker."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.fakes.tables import migrate
from tests.services.requires import newest_postgres, requires

_ROOM_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running cluster; `url_for(name)` is a database of it."""

    port: int
    password: str
    folder: Path

    def url_for(self, database: str) -> str:
        return f"postgresql://manyarm:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, like: str = "template1") -> str:
        """A fresh database, by its name: empty, or with all that another one holds, to which nobody is connected."""
        name = f"t{secrets.token_hex(6)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
        return name

    def drop(self, name: str) -> None:
        """Gone, with whoever is still connected."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.url_for("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The cluster of this test session."""
    requires("postgres")
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database for one test."""
    name = postgres.create()
    yield postgres.url_for(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def postgres_tables(postgres: PostgresServer) -> str:
    """A database with all tables and no rows, of which the others are copies."""
    name = postgres.create()
    migrate(postgres.url_for(name))
    return name


@pytest.fixture
def postgres_tables_url(postgres: PostgresServer, postgres_tables: str) -> Iterator[str]:
    """A fresh database with all tables and no rows for one test."""
    name = postgres.create(postgres_tables)
    yield postgres.url_for(name)
    postgres.drop(name)


@pytest.fixture(scope="module")
def module_postgres_url(postgres: PostgresServer, postgres_tables: str) -> Iterator[str]:
    """A fresh database with all tables and no rows for the tests of one module."""
    name = postgres.create(postgres_tables)
    yield postgres.url_for(name)
    postgres.drop(name)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """initdb, start, and at the end stop and remove."""
    programs = newest_postgres()
    assert programs is not None
    # Not under pytest's folder, which is root's alone: the cluster may have to run as another user.
    folder = Path(tempfile.mkdtemp(prefix="manyarm-pg-", dir=_memory()))
    folder.chmod(0o755)
    server = PostgresServer(_free_port(), secrets.token_hex(16), folder)
    password = folder / "password"
    password.write_text(server.password)
    for path in (folder, password):
        _give_away(path)
    data = folder / "data"
    try:
        initdb = [programs / "initdb", "-D", data, "-U", "manyarm", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        _as_server_user([*initdb, "--auth=scram-sha-256", f"--pwfile={password}"])
        with (data / "pg_hba.conf").open("a") as entries:
            # The proxy of tests/chaos comes from many addresses of this machine.
            entries.write("host all all 127.0.0.0/8 scram-sha-256\n")
        # A test cluster is thrown away, so it need not survive a power cut.
        options = f"-p {server.port} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"
        options += f" -c synchronous_commit=off -c unix_socket_directories={folder} -c max_connections=200"
        # Nor be copied elsewhere, nor does a database live long enough to be tidied.
        options += " -c wal_level=minimal -c max_wal_senders=0 -c autovacuum=off"
        _as_server_user(
            [programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-t", "60", "-o", options, "start"]
        )
        yield server
    finally:
        if (data / "postmaster.pid").exists():
            _as_server_user([programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"])
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> str | None:
    """Where files are kept in memory, if there is room: a database for a test is some hundred files for a moment."""
    place = Path("/dev/shm")
    return str(place) if place.is_dir() and shutil.disk_usage(place).free > _ROOM_BYTES else None


def _server_user() -> str | None:
    """The user it runs as; None: ourselves. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _give_away(path: Path) -> None:
    user = _server_user()
    if user is not None:
        shutil.chown(path, user)


def _as_server_user(command: list[object]) -> None:
    user = _server_user()
    group = pwd.getpwnam(user).pw_gid if user is not None else None
    done = subprocess.run(
        [str(word) for word in command],
        user=user,
        group=group,
        extra_groups=[] if user is not None else None,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
