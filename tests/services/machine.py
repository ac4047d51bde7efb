"""A machine of its own for a test: namespaces in which a real systemd is the first process and the network is empty.

The folders that services live in (`/etc/systemd`, `/etc/nginx`, `/run`, …) are its own; all others are this machine's,
so that the runner, its Python and a test's folder are the same on both.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SYSTEMD = Path("/lib/systemd/systemd")
# What stands in /lib/systemd/system there: nothing of this machine may start over there.
UNITS = {
    "sysinit.target": "[Unit]\nDefaultDependencies=no\nWants=systemd-journald.service\nAfter=systemd-journald.service\n",
    "basic.target": "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n",
    "multi-user.target": "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
    "network-online.target": "[Unit]\n",
    "shutdown.target": "[Unit]\nDefaultDependencies=no\n",
    "exit.target": "[Unit]\nDefaultDependencies=no\n",
    "systemd-journald.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/systemd/journal/stdout\n"
    "ListenDatagram=/run/systemd/journal/socket\nSocketMode=0666\nService=systemd-journald.service\n",
    "systemd-journald.service": "[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.socket\n"
    "After=systemd-journald.socket\n[Service]\nType=notify\nExecStart=/lib/systemd/systemd-journald\n"
    "Sockets=systemd-journald.socket\nStandardOutput=null\n",
}
_OUTER = """
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1"
echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"
exec unshare --pid --fork --kill-child --cgroup --uts --ipc --net --mount --mount-proc sh -euc "$3" sh "$2"
"""
_INNER = """
umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
cd "$1/over"
find . -name .folder | while read -r mark; do
    there=${mark%/.folder}; mkdir -p "${there#.}"; mount --bind "$there" "${there#.}"
done
[ ! -e /etc/machine-id ] || mount --bind "$1/machine-id" /etc/machine-id
hostname box
ip link set lo up
exec env -i container=test PATH="$PATH" /lib/systemd/systemd --system --unit=multi-user.target
"""
_GO_IN = 'mkdir -p /sys/fs/cgroup/jobs; echo $$ >/sys/fs/cgroup/jobs/cgroup.procs; exec "$@"'
_SWEEP = (
    "umount -R /sys/fs/cgroup 2>/dev/null || true; mount -t cgroup2 none /sys/fs/cgroup;"
    'find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} + 2>/dev/null; [ ! -e "/sys/fs/cgroup/$1" ]'
)


class Machine:
    """`wrapped` runs a command over there; `over` is what stands in the place of this machine's folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.over = folder / "over"
        self._name = f"manyarm-test-{os.getpid()}-{folder.name[-40:]}"
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0
        for path, files in (("lib/systemd/system", UNITS), ("etc/systemd/system", {})):
            self.own(f"/{path}", files)
        self.own("/etc/systemd", {"journald.conf": "[Journal]\nStorage=volatile\nReadKMsg=no\n", "system/.folder": ""})
        self.own("/usr/lib/systemd/system-generators", {})
        (folder / "machine-id").write_text(f"{os.urandom(16).hex()}\n")

    def own(self, path: str, files: dict[str, str]) -> Path:
        """Have a folder over there that is its own, with these files."""
        there = self.over / path.lstrip("/")
        there.mkdir(parents=True, exist_ok=True)
        (there / ".folder").touch()
        for name, text in files.items():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            (there / name).write_text(text)
        return there

    def wrapped(self, *command: str) -> list[str]:
        into = ["nsenter", "-t", str(self._first), "-m", "-p", "-n", "-C", "-i", "-u"]
        return [*into, "sh", "-c", _GO_IN, "sh", *command]

    def run(self, *command: str) -> str:
        """What a command over there printed; it must succeed."""
        ran = subprocess.run(self.wrapped(*command), capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        return ran.stdout.strip()

    def boot(self) -> None:
        log = (self.folder / "boot.log").open("wb")
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-euc", _OUTER, "sh", self._name, str(self.folder), _INNER],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self._is_up():
            assert self._process.poll() is None, (self.folder / "boot.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "boot.log").read_text()
            time.sleep(0.02)

    def halt(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        sweep = ["unshare", "--mount", "sh", "-c", _SWEEP, "sh", self._name]
        for _ in range(100):
            # The kernel takes a moment to bury all that ran there.
            if not subprocess.run(sweep, capture_output=True).returncode:
                return
            time.sleep(0.05)

    def _is_up(self) -> bool:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            return False
        self._first = int(children[0])
        if Path(f"/proc/{self._first}/comm").read_text() != "systemd\n":
            return False
        ran = subprocess.run(self.wrapped("systemctl", "is-system-running"), capture_output=True, text=True)
        return ran.stdout.strip() in ("running", "degraded")


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine that is not booted yet, for a test to lay out; it is halted at the end."""
    found = Machine(folder)
    try:
        yield found
    finally:
        if found._process is not None:
            found.halt()


@cache
def may_boot() -> bool:
    """Whether this user may make such namespaces, and there is a systemd to start in them."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    command = (
        "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && cd /sys/fs/cgroup && mkdir $0 && rmdir $0"
    )
    tried = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", command]
    return subprocess.run([*tried, f"manyarm-try-{os.getpid()}"], capture_output=True).returncode == 0
