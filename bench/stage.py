"""The stage of every bench: a whole hub and its spokes in a temporary folder, each part the process that people run."""

import http.client
import json
import os
import re
import select
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.services.whole import Whole

_LOOK_S = 0.0002
_LIMIT_S = 120.0


class BenchFailed(Exception):
    """A bench cannot go on; the message says what was expected and what was found."""


class Api:
    """One connection to the API, kept open, as a program would use it."""

    def __init__(self, url: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_LIMIT_S)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        return self._ask("PUT", path, body, {"If-Match": "*"})

    def _ask(self, method: str, path: str, body: Any, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
        self._open()
        content = None if body is None else json.dumps(body)
        self._connection.request(method, f"/api/v1{path}", content, {**self._headers, **headers})
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status not in {200, 201}:
            raise BenchFailed(f"{method} {path}: expected 200 or 201, found {answer.status}: {found[:300]!r}")
        return json.loads(found)

    def run(self, script: str, *targets: str) -> str:
        """Begin a script run; the id of its task."""
        return str(self.post("/runs", {"script": script, "targets": list(targets)})["task"])

    def close(self) -> None:
        self._connection.close()

    def _open(self) -> None:
        # The portal ends a connection that nobody asks through: then it can be read from, and says nothing.
        if self._connection.sock is not None and select.select([self._connection.sock], [], [], 0)[0]:
            self._connection.close()
        if self._connection.sock is None:
            # http.client sets TCP_NODELAY by itself.
            self._connection.connect()


class Rows:
    """Reads the hub's database from outside: what a row says is what was committed."""

    def __init__(self, path: Path) -> None:
        self._reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)

    def one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._reader.execute(query, values).fetchone()
        return found

    def until(self, true: Callable[[], Any], words: str, limit_s: float = _LIMIT_S) -> Any:
        """What `true` gives as soon as it is something; asked after each commit that anybody makes."""
        ends = time.monotonic() + limit_s
        version = -1
        while True:
            (now,) = self._reader.execute("PRAGMA data_version").fetchone()
            if now != version:
                version = now
                if found := true():
                    return found
            if time.monotonic() > ends:
                raise BenchFailed(f"{words}, not in {limit_s:g} s")
            time.sleep(_LOOK_S)

    def until_ended(self, task: str) -> None:
        """Wait for the row that says how the task ended; it must have succeeded."""
        query = "SELECT state, failure FROM task WHERE id = ? AND ended_at IS NOT NULL"
        state, failure = self.until(lambda: self.one(query, task), f"task {task} ended")
        if state != "succeeded":
            raise BenchFailed(f"task {task}: expected succeeded, found {state}: {failure}")

    def close(self) -> None:
        self._reader.close()


class Stage:
    """A hub that runs, its API and its rows."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self.folder = whole.folder
        self.api = Api(whole.url, whole.environ["MANYARM_API_KEY"])
        self.rows = Rows(whole.home / "manyarm.db")

    @property
    def gateway_port(self) -> int:
        return int(self.whole.environ["MANYARM_GATEWAY_BIND"].rpartition(":")[2])

    def add_spoke(self, name: str, *, standby: bool = True) -> None:
        """Enrol a spoke and start its daemon."""
        self.whole.enrol(name, "bench")
        if not standby:
            (self.whole.spoke_home(name) / "spoke.toml").write_text("standby = false\n")
        self.whole.start_spoke(name)

    def run_to_the_end(self, script: str, *targets: str) -> None:
        self.rows.until_ended(self.api.run(script, *targets))

    def environ(self, **more: str) -> dict[str, str]:
        return {**self.whole.environ, **more}

    def close(self) -> None:
        self.api.close()
        self.rows.close()


@contextmanager
def running_hub(**environ: str) -> Iterator[Stage]:
    """A hub on free ports, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="manyarm-bench-", ignore_cleanup_errors=True) as folder:
        whole = Whole(Path(folder), **environ)
        try:
            whole.install()
            whole.start()
            stage = Stage(whole)
            try:
                yield stage
            finally:
                stage.close()
        finally:
            whole.stop()


def resident_mb(pid: int) -> tuple[float, float]:
    """Memory of a process in MB (10^6 bytes): now, and the most it ever had (VmRSS, VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
    return now * 1024 / 1e6, most * 1024 / 1e6


def children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in found.splitlines())}
    below = [child for child, parent in parents.items() if parent == pid and child != os.getpid()]
    return below + [deeper for child in below for deeper in children(child)]
