"""A private sshd on loopback and a warm connection to it: the peer that people have on every machine."""

import getpass
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.meter import Meter
from tests.services.ports import free_ports

# SHLVL: else bash as the login shell reads .bashrc for every command, and that would be measured too.
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
X11Forwarding no
PrintMotd no
SetEnv SHLVL=2
"""
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class WarmSsh:
    """`ssh` over a master connection that stays open, and what others need to come in by the same server.

    Attributes:
        command: With where it goes as its last word.
        port: Where the server is reached: its own, or that of the door before it.
        host_key: As `ssh-ed25519 AAAA…`.
    """

    command: tuple[str, ...]
    user: str
    port: int
    host_key: str
    private_key: str

    def run(self, remote: str) -> None:
        subprocess.run([*self.command, remote], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def warm_ssh(door: Meter | None = None) -> Iterator[WarmSsh]:
    """An sshd with keys of its own, and the master connection; both end with the block.

    Args:
        door: Through which everybody comes who asks the `WarmSsh` for the port.
    """
    with tempfile.TemporaryDirectory(prefix="manyarm-ssh-") as name:
        folder, user = Path(name), getpass.getuser()
        (port,) = free_ports(1)
        for key in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        reached = port
        if door is not None:
            door.target, reached = port, door.port
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{reached} {host_key}\n")
        (folder / "sshd_config").write_text(_CONFIG.format(port=port, folder=folder, user=user))
        if os.geteuid() == 0:
            # Without it root's sshd refuses to start.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        # By its full path: sshd starts itself again for each connection.
        daemon = ["/usr/sbin/sshd", "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
        server = subprocess.Popen(daemon)
        options = ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={folder}/known_hosts")
        chosen = [part for option in options for part in ("-o", option)]
        where = ["-S", str(folder / "master"), "-p", str(reached), "-i", str(folder / "client")]
        base = ("ssh", "-F", "none", *where, *chosen)
        there = f"{user}@127.0.0.1"
        try:
            _open_master([*base, "-o", "ControlMaster=yes", "-N", "-f", there])
            yield WarmSsh((*base, there), user, reached, host_key, (folder / "client").read_text())
        finally:
            subprocess.run([*base, "-O", "exit", there], capture_output=True, check=False)
            server.terminate()
            server.wait(10)


def _open_master(command: list[str]) -> None:
    ends = time.monotonic() + _START_S
    while subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        if time.monotonic() > ends:
            raise OSError(f"the private sshd did not let us in within {_START_S:g} s: {' '.join(command)}")
        time.sleep(0.1)
