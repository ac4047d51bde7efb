"""A private RabbitMQ node in a home directory: own port, own names, own cookie, own epmd, all on loopback but AMQP.

    node = PrivateNode(home, ("127.0.0.1", 5673), credentials=NodeCredentials(hub, admin))
    node.start(); node.wait_ready(60); ...; node.stop()

The node is a process of its own session: it outlives the one who started it, and the next one finds it again by the
pid, start time and boot id in `<home>/broker/node.json`. Everything that was confirmed is on disk (docs/adr).
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import IO
from urllib.parse import quote

from hub.broker import process
from hub.broker.definitions import node_definitions
from hub.broker.errors import NodeFailed, NotInstalled, PortTaken
from hub.broker.process import ProcessMark
from wire import topology

logger = logging.getLogger(__name__)

# Debian's /usr/sbin/rabbitmq-server goes to /var/lib/rabbitmq and another user's cookie; this is the plain script.
_SERVERS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")
_READY_POLL_S = 0.05
_EXIT_WAIT_S = 10.0
# A node given a million descriptors makes a table for all of them; ten thousand spokes need a tenth of this.
_MAX_FILES = 65_536
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """The two users that a fresh node knows; there is no guest."""

    hub_password: str = field(repr=False)
    admin_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeTls:
    """Files of the node's own certificate and key, readable by the node's user."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the node listens; all but `amqp` on loopback."""

    amqp: int
    management: int
    distribution: int
    epmd: int


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
        self._credentials = credentials
        self._tls = tls
        self._disk_free_limit = disk_free_limit
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
        self._make_folders()
        left = self._left_behind()
        if left is not None and self._may_adopt(left):
            self._mark, self._ports = left.mark, left.ports
            logger.info("broker node adopted", extra={"pid": left.mark.pid, "port": left.ports.amqp})
            return
        if left is not None:
            self._end(left.mark, left.ports)
        self._ports = self._choose_ports(left.ports if left is not None else self._former_ports())
        self._write_configuration(self._ports)
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
        while not self._answers():
            if not self.running:
                raise NodeFailed(f"the broker node died at start; it said: {self._last_words()}")
            if time.monotonic() > deadline:
                raise NodeFailed(f"the broker node was not ready in {timeout_s:g} s; it said: {self._last_words()}")
            time.sleep(_READY_POLL_S)

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
        scheme = "amqps" if self._tls else "amqp"
        host = "127.0.0.1" if self._address in {"0.0.0.0", "::"} else self._address  # noqa: S104  compared, not bound
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{self.port}/{topology.VHOST}"

    # Starting

    def _make_folders(self) -> None:
        for name in ("", "conf", "home", "log", "mnesia", "gen"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            _write_private(cookie, secrets.token_hex(32), 0o400)

    def _choose_ports(self, former: Ports | None) -> Ports:
        """Those of last time where they are still free; only AMQP's is a promise to others."""
        amqp = self._port or (former.amqp if former is not None else 0)
        if amqp and not _is_free(self._address, amqp):
            raise PortTaken(
                f"the broker cannot listen on {self._address}:{amqp}, another program does: "
                f"end that one (`ss -ltnp 'sport = :{amqp}'` names it) or set MANYARM_BROKER_BIND"
            )
        wanted = [former.management, former.distribution, former.epmd] if former is not None else [0, 0, 0]
        inner = [port if port and _is_free("127.0.0.1", port) else 0 for port in wanted]
        fresh = iter(_free_ports(1 + len(inner)))
        return Ports(amqp or next(fresh), *(port or next(fresh) for port in inner))

    def _write_configuration(self, ports: Ports) -> None:
        conf = self.folder / "conf"
        _write_private(conf / "rabbitmq.conf", self._configuration(ports))
        # Sourced by the start script in the process that becomes the node.
        _write_private(conf / "rabbitmq-env.conf", f"ulimit -n {process.file_limit(_MAX_FILES)} 2>/dev/null || :\n")
        _write_private(conf / "advanced.config", "[].\n")
        _write_private(conf / "enabled_plugins", "[rabbitmq_management].\n")
        document = node_definitions(
            self._credentials.hub_password, self._credentials.admin_password, secrets.token_bytes(4)
        )
        _write_private(conf / "definitions.json", json.dumps(document))

    def _configuration(self, ports: Ports) -> str:
        template = resources.files("config").joinpath("rabbitmq", "node.conf").read_text()
        return Template(template).substitute(
            listener=self._listener(ports.amqp),
            management_port=ports.management,
            definitions=self.folder / "conf" / "definitions.json",
            max_message_bytes=topology.MAX_MESSAGE_BYTES,
            disk_free_limit=self._disk_free_limit,
        )

    def _listener(self, port: int) -> str:
        where = f"{self._address}:{port}"
        if self._tls is None:
            return f"listeners.tcp.1 = {where}"
        return "\n".join(
            (
                "listeners.tcp = none",
                f"listeners.ssl.1 = {where}",
                f"ssl_options.certfile = {self._tls.certificate}",
                f"ssl_options.keyfile = {self._tls.key}",
                "ssl_options.verify = verify_none",
                "ssl_options.fail_if_no_peer_cert = false",
                "ssl_options.versions.1 = tlsv1.3",
            )
        )

    def _environment(self, ports: Ports) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            # An address needs no resolver: a bare container may have no /etc/hosts.
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODENAME": "hub@127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "conf" / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "conf" / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "conf" / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "conf" / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "gen"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "gen"),
            "RABBITMQ_PID_FILE": str(folder / "gen" / "pid"),
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "ERL_EPMD_PORT": str(ports.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_CRASH_DUMP": str(folder / "log" / "erl_crash.dump"),
            # The script then becomes the node, so that our child is the node.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _spawn(self, server: Path, ports: Ports) -> subprocess.Popen[bytes]:
        with self._output() as output:
            return subprocess.Popen(
                [server],
                env=self._environment(ports),
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
        _write_private(self._state_file(), json.dumps(state))

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
        words = (self._configuration(ports), self._credentials.hub_password, self._credentials.admin_password)
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()

    # Readiness and the end

    def _answers(self) -> bool:
        ports = self._known_ports()
        host = "127.0.0.1" if self._address == "0.0.0.0" else self._address  # noqa: S104  compared, not bound
        try:
            with socket.create_connection((host, ports.amqp), timeout=2) as client:
                if self._tls is not None:
                    return self.running
                client.sendall(_AMQP_GREETING)
                return client.recv(1) == b"\x01"
        except OSError:
            return False

    def _end(self, mark: ProcessMark, ports: Ports) -> None:
        started = time.monotonic()
        # Not SIGTERM: with the management plugin that takes six seconds and keeps nothing more (docs/adr).
        process.send(mark, signal.SIGKILL)
        if self._child is not None and self._child.pid == mark.pid:
            self._child.wait(_EXIT_WAIT_S)
        process.wait_gone(mark, _EXIT_WAIT_S)
        _end_epmd(ports.epmd)
        logger.info("broker node stopped", extra={"pid": mark.pid, "duration_s": round(time.monotonic() - started, 3)})

    def _known_ports(self) -> Ports:
        if self._ports is None:
            raise NodeFailed("the broker node was not started yet, so its ports are unknown")
        return self._ports

    def _last_words(self) -> str:
        """What an operator would look for, from the newest files it writes."""
        lines: list[str] = []
        for path in (self.folder / "log" / "output", *(self.folder / "log").glob("*.log")):
            if path.exists():
                lines += [line for line in path.read_text(errors="replace").splitlines() if line.strip()][-6:]
        return " | ".join(lines)[-1500:] or f"nothing (see {self.folder / 'log'})"


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


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trial:
        # As the node does: a port whose last connections are still fading counts as free.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise PortTaken(f"the broker cannot listen on {address}:{port}: {error.strerror}") from error
        return True


def _free_ports(count: int) -> list[int]:
    """Different ones: all are held while the next is asked for."""
    trials = [socket.socket() for _ in range(count)]
    try:
        for trial in trials:
            trial.bind(("127.0.0.1", 0))
        return [int(trial.getsockname()[1]) for trial in trials]
    finally:
        for trial in trials:
            trial.close()


def _end_epmd(port: int) -> None:
    """Ask it to end, which it does only while no node is registered there."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(b"\x00\x01k")
                if client.recv(2) == b"OK":
                    return
        except OSError:
            return
        time.sleep(0.02)


def _write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
