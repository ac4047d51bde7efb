"""What this machine says it is: display text for the hub, never a reason for anything."""

import platform
import socket
from functools import cache
from importlib import metadata

from wire.messages import Platform


def this_platform(runner_python: str = "") -> Platform:
    """`runner_python`: the version of what runs jobs here, where that is another than our own."""
    return Platform(
        system=_shown(platform.system(), 64),
        machine=_shown(platform.machine(), 64),
        release=_shown(platform.release(), 128),
        python=_shown(runner_python or platform.python_version(), 64),
        hostname=_shown(socket.gethostname(), 255),
    )


@cache
def software() -> str:
    """Name and version of this program; asked once, for later it may lie where we cannot read it."""
    try:
        return f"manyarm-spoke {metadata.version('manyarm')}"
    except metadata.PackageNotFoundError:
        return "manyarm-spoke (checkout)"


def _shown(text: str, most: int) -> str:
    return "".join(character for character in text if character.isprintable())[:most]
