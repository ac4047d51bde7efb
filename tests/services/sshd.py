"""Private SSH servers for the tests: OpenSSH's own, on a free port, with keys made for this run, as root or as a user."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.services.network import Cable
from tests.services.ports import free_ports
from tests.services.requires import requires

READY_S = 15.0


def _as_it_is(*command: str) -> tuple[str, ...]:
    return command


@dataclass
class Sshd:
    """A running server: `log` is what it writes, `client_key` opens it."""

    folder: Path
    port: int
    program: str
    process: subprocess.Popen[bytes] | None = None
    options: tuple[str, ...] = ()
    host_key_type: str = "ed25519"
    user: str = field(default_factory=getpass.getuser)
    host: str = "127.0.0.1"
    wrapped: Callable[..., tuple[str, ...]] = _as_it_is

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def client_key(self) -> str:
        return (self.folder / "client").read_text(encoding="ascii")

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text(encoding="ascii").split()[:2])

    def make_host_key(self, kind: str = "ed25519") -> None:
        """A new key; connections made from now on see it."""
        for name in ("host", "host.pub"):
            (self.folder / name).unlink(missing_ok=True)
        self.host_key_type = kind
        _keygen(self.folder / "host", kind)

    def start(self) -> None:
        (self.folder / "sshd_config").write_text(self._config(), encoding="ascii")
        checked = subprocess.run(
            [self.program, "-t", "-f", str(self.folder / "sshd_config")], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.wrapped(self.program, "-D", "-e", "-f", str(self.folder / "sshd_config")), stdout=log, stderr=log
            )
        self._wait_ready()

    def stop(self) -> None:
        """The server and its sessions; what was started in them and left its session goes on."""
        if self.process is not None:
            self.cut()
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None

    def cut(self) -> int:
        """Kill the server's end of every connection; returns how many processes that were."""
        ended = self.connections()
        for one in ended:
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(one.pid, signal.SIGKILL)
        return len(ended)

    def pause(self) -> None:
        """From now on its connections are silent, as if the network were gone."""
        for one in self.connections():
            one.suspend()

    def resume(self) -> None:
        for one in self.connections():
            one.resume()

    def connections(self) -> list[psutil.Process]:
        """Its own processes for connections, not what they have started."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [one for one in children if _name(one).startswith("sshd")]
        return []

    def _config(self) -> str:
        lines = [
            *self.options,
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f"HostKey {self.folder / 'host'}",
            f"PidFile {self.folder / 'pid'}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "AllowTcpForwarding no",
            "X11Forwarding no",
            "PrintMotd no",
            "MaxStartups 100:30:200",
            "LogLevel VERBOSE",
        ]
        return "\n".join(lines) + "\n"

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while "Server listening" not in self.log:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)


@contextmanager
def running_sshd(
    folder: Path | None = None,
    *,
    options: tuple[str, ...] = (),
    user: str = "",
    host_key: str = "ed25519",
    over: Cable | None = None,
) -> Iterator[Sshd]:
    """A server until the block ends.

    Args:
        folder: Its own; a new one by default.
        options: Lines of sshd_config that win over ours.
        user: Whom the client's key lets in; whoever runs the tests by default.
        over: It stands at the far end of this cable.
    """
    requires("sshd")
    program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    assert program is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    place = folder or Path(tempfile.mkdtemp(prefix="manyarm-sshd-"))
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    sshd = Sshd(place, free_ports(1)[0], program, options=options, user=user or getpass.getuser())
    if over is not None:
        sshd.host, sshd.wrapped = over.far, over.wrapped
    sshd.make_host_key(host_key)
    _keygen(place / "client", "ed25519")
    shutil.copy(place / "client.pub", place / "authorized_keys")
    (place / "authorized_keys").chmod(0o644)
    sshd.start()
    try:
        yield sshd
    finally:
        sshd.stop()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def sshd_server() -> Iterator[Sshd]:
    """The server of this session."""
    with running_sshd() as sshd:
        yield sshd


@pytest.fixture
def sshd(sshd_server: Sshd) -> Sshd:
    """The server without connections."""
    sshd_server.cut()
    return sshd_server


def _keygen(path: Path, kind: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
