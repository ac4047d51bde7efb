"""Building the runner: the same sources give the same bytes, wherever and whenever they are built."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from runner import release
from runner.steps import step_kinds

# The oldest time that a zip can hold: a build says nothing about when it was made.
_TIME = (1980, 1, 1, 0, 0, 0)
_SUFFIXES = frozenset({".py", ".sh", ".bash", ".js", ".ps1", ".psm1", ".txt"})
_NOT_NEEDED = frozenset({"build.py", "start_time.py"})


class BundleDiffers(Exception):
    """What is installed is not what bundled.txt names; the message says what to install."""


@dataclass(frozen=True)
class BuiltRunner:
    path: Path
    sha256: str
    size: int
    release: int
    semver: str
    step_kinds: Dict[str, Any]


def build(destination: Path) -> BuiltRunner:
    """Write the runner's archive, which `python3 -I -S -B <archive>` runs as it is or unpacked.

    Args:
        destination: The file to write; it appears whole.

    Raises:
        OSError: it cannot be written.
        BundleDiffers: a file of bundled.txt is not installed here, or is not the one that was pinned.
    """
    kinds = step_kinds()
    part = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, content in _contents(kinds):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            # Stored: another zlib would deflate the same text into other bytes. Chunks are compressed anyway.
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, content)
    part.replace(destination)
    data = destination.read_bytes()
    return BuiltRunner(
        path=destination,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        release=release.RELEASE,
        semver=release.SEMVER,
        step_kinds=kinds,
    )


def _contents(kinds: Dict[str, Any]) -> Iterator[Tuple[str, bytes]]:
    """Names and bytes of every file of the archive, in the order of their names."""
    room = Path(__file__).resolve().parent
    found = {
        "__main__.py": (room / "__main__.py").read_bytes(),
        "step_kinds.json": json.dumps(kinds, indent=1, sort_keys=True).encode("ascii") + b"\n",
    }
    for path in room.rglob("*"):
        name = path.relative_to(room).as_posix()
        if path.suffix in _SUFFIXES and name != "__main__.py" and name not in _NOT_NEEDED:
            found[f"runner/{name}"] = path.read_bytes()
    found.update(_bundled(room / "bundled.txt"))
    yield from sorted(found.items())


def _bundled(pins: Path) -> Dict[str, bytes]:
    """The files of the bundled wheels; their packages import nothing by themselves, so that a part suffices."""
    found: Dict[str, bytes] = {}
    lines = [line.split() for line in pins.read_text(encoding="ascii").splitlines() if line[:1] not in ("", "#")]
    for digest, name in lines:
        content = _installed(name)
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleDiffers(f"{name} is not the file that {pins} pins; install requirements.txt with its hashes")
        found[name] = content
        if name.endswith(".py"):
            found.update({f"{folder.as_posix()}/__init__.py": b"" for folder in list(Path(name).parents)[:-1]})
    return found


def _installed(name: str) -> bytes:
    try:
        return Path(str(importlib.metadata.distribution("ruamel.yaml").locate_file(name))).read_bytes()
    except (OSError, importlib.metadata.PackageNotFoundError) as error:
        raise BundleDiffers(f"{name} is not installed; install requirements.txt with its hashes") from error


def main(arguments: List[str]) -> int:
    """`python -m runner.build FILE`: build it, and print its size and how long an empty job takes from a cold start."""
    from runner import start_time  # late: the hub builds, and measures nothing

    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m runner.build FILE", file=sys.stderr)
        return 2
    built = build(Path(arguments[0]).absolute())
    print(f"{built.path.name}: manyarm-runner {built.semver}, {built.size:,} bytes, sha256 {built.sha256}")
    print(start_time.measured(built.path, sys.executable, rounds=start_time.ROUNDS))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
