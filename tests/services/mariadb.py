"""A private MariaDB server for those who have one installed: one a session, behind a socket in a folder of its own.

`./dev test` does not install it (mariadb-server-core and mariadb-client-core on Debian); where it is, its tests run too.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# What an options file and a shell would read as something else.
PASSWORD = "p\"a\\ss #1;'x ü"


def has_mariadb() -> bool:
    return all(map(shutil.which, ("mariadbd", "mariadb", "mariadb-install-db")))


@dataclass(frozen=True, slots=True)
class MariadbServer:
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "s.sock"

    def query(self, statement: str, database: str = "") -> list[tuple[str, ...]]:
        command = [
            "mariadb",
            "--no-defaults",
            "-S",
            str(self.socket),
            "-u",
            "root",
            "-N",
            "-B",
            "--default-character-set=utf8mb4",
            database,
        ]
        done = subprocess.run(command, input=statement.encode(), capture_output=True, check=True)
        return [tuple(line.split("\t")) for line in done.stdout.decode().splitlines()]


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """The server of this test session; its user `deployer` has a difficult password."""
    server = MariadbServer(Path(tempfile.mkdtemp(prefix="manyarm-maria-")))
    data = server.folder / "data"
    user = ["--user=root"] if os.geteuid() == 0 else []
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    subprocess.run([*install, *user], capture_output=True, check=True)
    with (server.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={server.socket}", "--skip-networking", *user],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.query("SELECT 1")
                break
            assert time.monotonic() < deadline, (server.folder / "log").read_text()
            time.sleep(0.1)
        escaped = PASSWORD.replace("\\", "\\\\").replace("'", "''")
        server.query(
            f"CREATE USER deployer@localhost IDENTIFIED BY '{escaped}'; GRANT ALL ON *.* TO deployer@localhost"
        )
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def mariadb_database(mariadb: MariadbServer) -> Iterator[str]:
    """A fresh database for one test, by its name."""
    name = f"t{secrets.token_hex(6)}"
    mariadb.query(f"CREATE DATABASE {name}")
    yield name
    mariadb.query(f"DROP DATABASE {name}")
