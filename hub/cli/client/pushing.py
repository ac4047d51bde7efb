"""Pushes one package file: asks which of its chunks the hub lacks within that package, and sends those alone."""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub.cli.client.hub_api import HubApi, Json
from wire import chunks

CHUNKS_TYPE = "application/vnd.manyarm.chunks"


def push_file(hub: HubApi, file: Path, size: int, sha256: str) -> Json:
    """Push the file; the answer is that of POST /packages."""
    listed = [[hashlib.sha256(chunk).hexdigest(), len(chunk)] for chunk in _chunks(file)]
    listing: dict[str, Any] = {"name": file.name, "size": size, "sha256": sha256, "chunks": listed}
    missing = hub.post("/packages/missing", listing)["missing"]
    head = json.dumps(listing).encode()
    length = 4 + len(head) + sum(4 + listed[index][1] for index in missing)
    return hub.send("/packages", _push(head, file, set(missing)), length, CHUNKS_TYPE)


def _push(head: bytes, file: Path, missing: set[int]) -> Iterator[bytes]:
    yield struct.pack(">I", len(head)) + head
    for index, chunk in enumerate(_chunks(file)):
        if index in missing:
            yield struct.pack(">I", len(chunk)) + chunk


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        yield from chunks.split(stream)
