"""The demo's machine that is reached by SSH: OpenSSH's own server, private to the demo, with keys made for it alone."""

import os
import shutil
import subprocess
from pathlib import Path

from demo.stage import Processes, Stage, StageFailed, wait_until

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding no
X11Forwarding no
PrintMotd no
MaxStartups 100:30:200
"""


class SshMachine:
    """Keys are kept for the next run: a host key that changed would be noticed, as it should."""

    def __init__(self, stage: Stage) -> None:
        self._folder = stage.folder / "ssh"
        self._port = stage.ports["ssh"]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def host_key(self) -> str:
        """The public half, as the machine's own console would show it."""
        return " ".join((self._folder / "host.pub").read_text().split()[:2])

    def start(self, processes: Processes) -> None:
        """Serve until the demo ends.

        Raises:
            StageFailed: There is no SSH server here, or it does not start.
        """
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise StageFailed("there is no SSH server; install openssh-server")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("host", "client"):
            if not (self._folder / name).exists():
                made = [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    f"demo {name}",
                    "-f",
                    str(self._folder / name),
                ]
                subprocess.run(made, check=True)
        config = self._folder / "sshd_config"
        config.write_text(_CONFIG.format(folder=self._folder, port=self._port))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        process = processes.start("sshd", program, "-D", "-e", "-f", str(config))

        def ready() -> bool:
            if process.poll() is not None:
                raise StageFailed(f"the SSH server ended: {processes.last_words('sshd')}")
            return "Server listening" in processes.log("sshd")

        wait_until(ready, "the SSH server was not ready in ten seconds", 10)
