"""The package of bench 4: 100 MB of files, half of them incompressible, and versions with 1 % inserted."""

import io
import random
import tarfile
import zipfile
from pathlib import Path

_FILES = 4
_WORDS = 4_096
_MTIME = 1_700_000_000


def room() -> str | None:
    """Where samples are written. Not in memory: a disk is what packages lie on."""
    return str(Path("build").absolute()) if Path("build").is_dir() else None


def files(size: int, seed: int = 1) -> list[bytes]:
    """Contents of about `size` bytes together; every second one is random, the others are words."""
    chance = random.Random(seed)  # Reproducible, so that every run measures the same bytes.
    words = [chance.randbytes(chance.randint(2, 6)).hex().encode() for _ in range(_WORDS)]
    made = []
    for number in range(_FILES):
        length = size // _FILES
        if number % 2:
            made.append(chance.randbytes(length))
        else:
            made.append(b" ".join(chance.choices(words, k=length // 8))[:length].ljust(length, b"."))
    return made


def inserted(contents: list[bytes], places: int, seed: int = 2) -> list[bytes]:
    """The next version: 1 % of random bytes more, in equal parts at so many random places."""
    chance = random.Random(seed)
    piece = sum(map(len, contents)) // 100 // places
    changed = list(contents)
    for _ in range(places):
        which = chance.randrange(len(changed))
        at = chance.randrange(len(changed[which]))
        changed[which] = changed[which][:at] + chance.randbytes(piece) + changed[which][at:]
    return changed


def write_tar(path: Path, contents: list[bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in _named(contents):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), _MTIME, 0o644
            tar.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, contents: list[bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _named(contents):
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return path


def _named(contents: list[bytes]) -> list[tuple[str, bytes]]:
    return [(f"app/part-{number:03}.bin", content) for number, content in enumerate(contents)]
