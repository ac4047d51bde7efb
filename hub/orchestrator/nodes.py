"""The nodes of this hub: each engine says that it is there, and notices who has died.

    arrive -> a row, prolonged every few seconds -> leave: the row and all leases are gone, another one goes on at once
    killed -> on its own machine known by its process, elsewhere when its row runs out: buried by whoever sees it first
    stopped and woken -> its row is gone: it makes another; what it had begun was rolled back or is claimed by others

Nothing is decided by these rows alone: leases and claims are (leases.py). They name nodes to people, and spare a task
the wait for what a dead node had sealed and perhaps not sent.
"""

import json
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from threading import Event

from hub.broker.process import ProcessMark, is_alive, mark
from hub.orchestrator.leases import TERM_MS, Leases, release
from hub.storage.database import connection, database_clock_ms, is_postgres, write_tx
from hub.storage.models import Node

logger = logging.getLogger(__name__)

_SHARED_S = TERM_MS / 3000
# Where one engine works by its file lock, nobody waits for its word.
_ALONE_S = 30.0
_ALONE_MS = 90_000


def here() -> str:
    """How people know the process that asks."""
    return f"{socket.gethostname()} (pid {os.getpid()})"


def software() -> str:
    """Which release this node runs: two stand side by side while a hub is brought up to date."""
    try:
        return metadata.version("manyarm")
    except metadata.PackageNotFoundError:
        return "of a checkout"


class Presence:
    """One engine's. `run` is a loop of the engine's.

    Args:
        leases: Ours; their holder is the node's id.
        on_death: Called after each burial, with the dead node's id; "" where we find nobody at our arrival.
        name: As people read it.
    """

    def __init__(self, leases: Leases, on_death: Callable[[str], None], name: str = "") -> None:
        self.id = leases.holder
        self.name = name or here()
        self._leases = leases
        self._on_death = on_death
        self._mark = {**asdict(mark(os.getpid())), "machine": _machine()}

    def arrive(self) -> None:
        """Be there, and bury those of whom we know already that they are dead."""
        with connection():
            self._say()
            self._bury_dead()
            if not Node.select().where(Node.id != self.id).exists():
                self._on_death("")

    def run(self, stop: Event) -> None:
        while not stop.wait(_SHARED_S if is_postgres() else _ALONE_S):
            with connection():
                self._say()
                self._bury_dead()

    def leave(self) -> None:
        """All that is ours is free for others."""
        with connection(), write_tx():
            self._leases.release()
            Node.delete().where(Node.id == self.id).execute()

    def _say(self) -> None:
        now_ms = database_clock_ms()
        until = now_ms + (TERM_MS if is_postgres() else _ALONE_MS)
        with write_tx():
            if Node.update(until=until).where(Node.id == self.id).execute():
                return
            Node.create(
                id=self.id,
                name=self.name,
                mark=json.dumps(self._mark, sort_keys=True),
                software=software(),
                started_at=now_ms,
                until=until,
            )
        logger.info("node is there", extra={"node": self.name})

    def _bury_dead(self) -> None:
        now_ms = database_clock_ms()
        for row in list(Node.select().where(Node.id != self.id)):
            if self._is_dead(row, now_ms) and _bury(row):
                logger.warning("node is gone; its work is taken over", extra={"node": row.name})
                self._on_death(row.id)

    def _is_dead(self, row: Node, now_ms: int) -> bool:
        # On SQLite the file lock is ours, so nobody else can live.
        return not is_postgres() or row.until <= now_ms or _is_known_dead(row, str(self._mark["machine"]))


def nodes() -> list[tuple[Node, bool]]:
    """All of them by their names, and whether each has said lately that it is there."""
    now_ms = database_clock_ms()
    return [(row, row.until > now_ms) for row in Node.select().order_by(Node.name, Node.started_at)]


def _bury(row: Node) -> bool:
    """Whether it was we who did it: several see the same death."""
    with write_tx():
        # Its word may have come since.
        gone = Node.delete().where(Node.id == row.id, Node.until == row.until).execute()
        if gone:
            release(row.id)
    return bool(gone)


def _is_known_dead(row: Node, machine: str) -> bool:
    """Whether its process ran on this machine and runs no more."""
    known = json.loads(row.mark)
    if known.get("machine") != machine:
        return False
    return not is_alive(ProcessMark(int(known["pid"]), str(known["start_time"]), str(known["boot_id"])))


def _machine() -> str:
    """Where the numbers of processes mean what they mean here: a container has its own."""
    try:
        space = Path("/proc/self/ns/pid").readlink()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {boot} {space}"
