"""A private RabbitMQ node in a home directory: own port, own names, own cookie, own epmd, all on loopback but AMQP.

    node = PrivateNode(home, ("127.0.0.1", 5673), credentials=NodeCredentials(hub, admin))
    node.start(); node.wait_ready(60); ...; node.stop()

The node is a process of its own session: it outlives the one who started it, and the next one finds it again by the
pid, start time and boot id in `<home>/broker/node.json`. Everything that was confirmed is on disk (docs/adr).
"""

import hashlib
import json
import logging
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from hub.broker import process
from hub.broker.errors import NodeFailed, NotInstalled, PortTaken
from hub.broker.layout import Layout, NodeCredentials, NodeTls, Ports, write_private
from hub.broker.ports import end_epmd, free_ports, is_free
from hub.broker.process import ProcessMark
from wire import topology

__all__ = ["NodeCredentials", "NodeTls", "PrivateNode"]

logger = logging.getLogger(__name__)

# Debian's /usr/sbin/rabbitmq-server goes to /var/lib/rabbitmq and another user's cookie; this is the plain script.
_SERVERS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")
_POLL_S = 0.02
_EXIT_WAIT_S = 10.0
_ERROR = re.compile(r"\S+ \S+ \[(error|critical)\] <[\d.]+> ")
# What a node says whose port another program was given since we looked; so often it is started, with other ports.
_TAKEN = re.compile(r"could not bind|eaddrinuse|address already in use", re.IGNORECASE)
_PORT_TRIES = 3
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"


class PrivateNode:
    """One node and its folder `<home>/broker`; start and stop belong to one caller at a time.

    Args:
        home: The hub's home, owned by whoever runs this; any user will do, root included.
        bind: Address and port of AMQP; port 0 takes a free one and keeps it for the next start.
        credentials: Written into the node at each start, so a changed password takes effect.
        tls: Turns AMQP to TLS 1.3 alone.
        disk_free_limit: Below it the node blocks all publishers.
    """

    def __init__(
        self,
        home: Path,
        bind: tuple[str, int],
        *,
        credentials: NodeCredentials,
        tls: NodeTls | None = None,
        disk_free_limit: str = "1GB",
    ) -> None:
        self.folder = home.absolute() / "broker"
        self._address, self._port = bind
        self._layout = Layout(self.folder, self._address, credentials, tls, disk_free_limit)
        self._child: subprocess.Popen[bytes] | None = None
        self._mark: ProcessMark | None = None
        self._ports: Ports | None = None

    def start(self) -> None:
        """Start it, or go on with the one that a former caller has left running here.

        Raises:
            NotInstalled: no RabbitMQ on this machine.
            PortTaken: somebody else listens on the AMQP port.
        """
        server = _server_script()
        self._layout.make_folders()
        left = self._left_behind()
        if left is not None and self._may_adopt(left):
            self._mark, self._ports = left.mark, left.ports
            logger.info("broker node adopted", extra={"pid": left.mark.pid, "port": left.ports.amqp})
            return
        if left is not None:
            self._end(left.mark, left.ports)
        former = left.ports if left is not None else self._former_ports()
        if former is not None:
            # A node that was killed leaves its epmd, which would keep the port and stay for ever.
            end_epmd(former.epmd)
        self._ports = self._choose_ports(former)
        self._layout.write(self._ports)
        self._child = self._spawn(server, self._ports)
        self._mark = process.mark(self._child.pid)
        self._remember()
        logger.info("broker node started", extra={"pid": self._child.pid, "port": self._ports.amqp})

    def wait_ready(self, timeout_s: float) -> None:
        """Return when it answers AMQP.

        Raises:
            NodeFailed: it has died, or time is up.
        """
        deadline = time.monotonic() + timeout_s
        tries = _PORT_TRIES
        while not self._answers():
            if not self.running:
                words = self._last_words()
                tries -= 1
                if not tries or not _TAKEN.search(words):
                    raise NodeFailed(f"the broker node died at start; it said: {words}")
                # Between our look and its own, any connection of this machine may have been given that port.
                logger.info("broker node is started with other ports", extra={"reason": words})
                self.stop()
                self.start()
            if time.monotonic() > deadline:
                raise NodeFailed(f"the broker node was not ready in {timeout_s:g} s; it said: {self._last_words()}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End it and its epmd; what was confirmed stays. Returns when both are gone."""
        if self._mark is not None and self._ports is not None:
            self._end(self._mark, self._ports)
        self._child = None
        self._mark = None

    @property
    def running(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            return False
        return self._mark is not None and process.is_alive(self._mark)

    @property
    def pid(self) -> int | None:
        return self._mark.pid if self._mark is not None else None

    @property
    def port(self) -> int:
        """The AMQP port, known once it was started."""
        return self._known_ports().amqp

    @property
    def admin_url(self) -> str:
        """The HTTP API, on loopback."""
        return f"http://127.0.0.1:{self._known_ports().management}"

    def url(self, user: str, password: str) -> str:
        """What AmqpConnection takes, for a client on this machine."""
        scheme = "amqps" if self._layout.tls else "amqp"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{self.port}/{topology.VHOST}"

    @property
    def _host(self) -> str:
        """Where a client on this machine finds it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._address, self._address)  # noqa: S104  not bound here

    # Starting

    def _choose_ports(self, former: Ports | None) -> Ports:
        """Those of last time where they are still free; only AMQP's is a promise to others."""
        amqp = self._port or (former.amqp if former is not None else 0)
        if amqp and not is_free(self._address, amqp):
            raise PortTaken(
                f"the broker cannot listen on {self._address}:{amqp}, another program does: "
                f"end that one (`ss -ltnp 'sport = :{amqp}'` names it) or set MANYARM_BROKER_BIND"
            )
        wanted = [former.management, former.distribution, former.epmd] if former is not None else [0, 0, 0]
        inner = [port if port and is_free("127.0.0.1", port) else 0 for port in wanted]
        fresh = iter(free_ports(1 + len(inner)))
        return Ports(amqp or next(fresh), *(port or next(fresh) for port in inner))

    def _spawn(self, server: Path, ports: Ports) -> subprocess.Popen[bytes]:
        with self._output() as output:
            return subprocess.Popen(
                [server],
                env=self._layout.environment(ports),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _output(self) -> IO[bytes]:
        return (self.folder / "log" / "output").open("wb")

    # What a former caller has left

    def _state_file(self) -> Path:
        return self.folder / "node.json"

    def _remember(self) -> None:
        assert self._mark is not None
        assert self._ports is not None
        state = {"mark": asdict(self._mark), "ports": asdict(self._ports), "made_with": self._made_with(self._ports)}
        write_private(self._state_file(), json.dumps(state))

    def _left_behind(self) -> "_Left | None":
        """The node that still runs here, never a stranger who has got its pid."""
        left = self._recorded()
        return left if left is not None and process.is_alive(left.mark) else None

    def _former_ports(self) -> Ports | None:
        left = self._recorded()
        return left.ports if left is not None else None

    def _recorded(self) -> "_Left | None":
        try:
            state = json.loads(self._state_file().read_text())
            return _Left(ProcessMark(**state["mark"]), Ports(**state["ports"]), str(state["made_with"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _may_adopt(self, left: "_Left") -> bool:
        return left.made_with == self._made_with(left.ports) and self._port in {0, left.ports.amqp}

    def _made_with(self, ports: Ports) -> str:
        return hashlib.sha256(json.dumps(self._layout.made_with(ports)).encode()).hexdigest()

    # Readiness and the end

    def _answers(self) -> bool:
        ports = self._known_ports()
        try:
            with socket.create_connection((self._host, ports.amqp), timeout=2) as client:
                if self._layout.tls is not None:
                    return self.running
                client.sendall(_AMQP_GREETING)
                return client.recv(1) == b"\x01"
        except OSError:
            return False

    def _end(self, mark: ProcessMark, ports: Ports) -> None:
        started = time.monotonic()
        # Not SIGTERM: a node killed while it puts its quorum queues away may not find them again, and one left to
        # itself makes people wait seven seconds for nothing. Its logs are made for a crash at any moment.
        process.send(mark, signal.SIGKILL)
        if self._child is not None and self._child.pid == mark.pid:
            self._child.wait(_EXIT_WAIT_S)
        process.wait_gone(mark, _EXIT_WAIT_S)
        end_epmd(ports.epmd)
        logger.info("broker node stopped", extra={"pid": mark.pid, "duration_s": round(time.monotonic() - started, 3)})

    def _known_ports(self) -> Ports:
        if self._ports is None:
            raise NodeFailed("the broker node was not started yet, so its ports are unknown")
        return self._ports

    def _last_words(self) -> str:
        """What an operator would look for: the first errors of this start, else the last lines of the log."""
        log = self.folder / "log"
        errors = [_ERROR.sub("", line).strip() for line in _lines(log / "output") if _ERROR.match(line)]
        told = list(dict.fromkeys(error for error in errors if error))[:3]
        logged = [line for path in sorted(log.glob("*.log")) for line in _lines(path)[-3:]]
        return " | ".join(told or logged)[:1_000] or f"nothing (see {log})"


@dataclass(frozen=True, slots=True)
class _Left:
    mark: ProcessMark
    ports: Ports
    made_with: str


def _server_script() -> Path:
    for candidate in _SERVERS:
        if Path(candidate).exists():
            return Path(candidate)
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise NotInstalled(
            "there is no rabbitmq-server on this machine: "
            "`apt-get install -y --no-install-recommends rabbitmq-server`, or set MANYARM_BROKER_URL to an existing one"
        )
    return Path(found)


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
