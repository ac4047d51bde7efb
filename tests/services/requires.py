"""A part that is missing skips a test on a laptop, and fails it where CI=true: a green CI means that all of them ran."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services.machine import may_boot
from tests.services.network import may_lay_cables


@dataclass(frozen=True, slots=True)
class Part:
    find: Callable[[], object]
    install: str


def newest_postgres() -> Path | None:
    """The folder of the newest server programs, Debian's places first, then PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = installed[-1] if installed else shutil.which("initdb")
    return Path(found).parent if found else None


PARTS = {
    "rabbitmq": Part(
        lambda: shutil.which("rabbitmq-server", path=os.environ["PATH"] + ":/usr/sbin:/usr/lib/rabbitmq/bin"),
        "apt-get install -y --no-install-recommends rabbitmq-server",
    ),
    "postgres": Part(newest_postgres, "apt-get install -y --no-install-recommends postgresql"),
    "sshd": Part(
        lambda: shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin"),
        "apt-get install -y --no-install-recommends openssh-server",
    ),
    "node": Part(
        lambda: shutil.which("node") or shutil.which("nodejs"), "apt-get install -y --no-install-recommends nodejs"
    ),
    "namespaces": Part(
        may_lay_cables, "apt-get install -y --no-install-recommends iproute2 (and run the tests as root)"
    ),
    "systemd": Part(
        may_boot,
        "apt-get install -y --no-install-recommends systemd iproute2 (and run the tests as root, with namespaces)",
    ),
    "nginx": Part(
        lambda: shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"),
        "apt-get install -y --no-install-recommends nginx",
    ),
    "podman": Part(
        lambda: shutil.which("podman") and shutil.which("crun") and shutil.which("busybox"),
        "apt-get install -y --no-install-recommends podman crun busybox-static",
    ),
    "chromium": Part(
        lambda: shutil.which("chromium") or list(Path.home().glob(".cache/ms-playwright/chromium*")),
        "playwright install chromium",
    ),
}


def requires(service: str) -> None:
    """Go on only where the part stands.

    Raises:
        pytest.skip.Exception: missing, on a person's machine.
        pytest.fail.Exception: missing, in CI.
    """
    part = PARTS[service]
    if part.find():
        return
    sentence = f"{service} is not installed; install it with: {part.install}"
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
