"""Packs the sample application: its files and a catalogue, of which the second version changes a little."""

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

HERE = Path(__file__).parent / "storefront"
VERSIONS = ("1.0.0", "1.1.0")
_THINGS = 60_000
_NEW_THINGS = 300
_FROM_THING = 20_000


def sample_digest() -> str:
    """Tells this sample from one that an earlier checkout packed: a hub takes a version once, with the same bytes."""
    files = [Path(__file__), *sorted(path for path in HERE.rglob("*") if path.is_file())]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def pack(version: str, folder: Path) -> Path:
    """Write storefront.VERSION.tar; the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"storefront.{version}.tar"
    new = path.with_suffix(".new")
    with tarfile.open(new, "w") as archive:
        for file in sorted((HERE / version).iterdir()):
            _add(archive, file.name, file.read_bytes())
        _add(archive, "catalogue.json", json.dumps(_catalogue(version), indent=0).encode())
    new.replace(path)
    return path


def _catalogue(version: str) -> list[dict[str, object]]:
    chance = random.Random(20_261_123)
    things: list[dict[str, object]] = [_thing(f"thing {number}", chance) for number in range(_THINGS)]
    if version != VERSIONS[0]:
        fresh = [{**_thing(f"new thing {number}", chance), "since": version} for number in range(_NEW_THINGS)]
        things[_FROM_THING:_FROM_THING] = fresh
    return things


def _thing(name: str, chance: random.Random) -> dict[str, object]:
    return {"name": name, "price": chance.randrange(100, 99_999) / 100}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
    archive.addfile(entry, io.BytesIO(content))
