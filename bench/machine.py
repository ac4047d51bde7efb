"""What the figures were measured on: kind of machine and the versions of everything that took part."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

_PARTS = ("pika", "pynacl", "peewee", "flask", "gunicorn", "zstandard")


def described() -> dict[str, str]:
    """One line a fact; nothing that names this very machine."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{_pretty_system()}, Linux {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "rabbitmq": _first_line("rabbitmqctl", "version"),
        "ssh": _first_line("ssh", "-V"),
        "rsync": _first_line("rsync", "--version"),
        "zstd": _first_line("zstd", "--version"),
    }
    return {**found, **{name: version(name) for name in _PARTS}}


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


def _pretty_system() -> str:
    found = re.search(r'PRETTY_NAME="(.+)"', Path("/etc/os-release").read_text())
    return found.group(1) if found else platform.system()


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "not installed"
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0].strip() if lines else "unknown"
