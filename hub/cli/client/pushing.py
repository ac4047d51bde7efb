"""Pushes one package file: asks which of its chunks the hub lacks within that package, and sends those alone.

The list of chunks is most of what a small change costs, and half of it again once packed.
"""

import gzip
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub.cli.client.hub_api import HubApi, Json
from wire import chunks

CHUNKS_TYPE = "application/vnd.manyarm.chunks"
# What is longer goes as it is: packing would cost more time than most networks need for the rest.
_PACKED_BYTES = 16 * 1024 * 1024


def push_file(hub: HubApi, file: Path, size: int, sha256: str) -> Json:
    """Push the file; the answer is that of POST /packages."""
    listed = [[hashlib.sha256(chunk).hexdigest(), len(chunk)] for chunk in _chunks(file)]
    listing: dict[str, Any] = {"name": file.name, "size": size, "sha256": sha256, "chunks": listed}
    head = json.dumps(listing).encode()
    missing = hub.post_packed("/packages/missing", gzip.compress(head))["missing"]
    length = 4 + len(head) + sum(4 + listed[index][1] for index in missing)
    if length <= _PACKED_BYTES:
        whole = b"".join(_push(head, file, set(missing)))
        return hub.post_packed("/packages", gzip.compress(whole), CHUNKS_TYPE)
    return hub.send("/packages", _push(head, file, set(missing)), length, CHUNKS_TYPE)


def _push(head: bytes, file: Path, missing: set[int]) -> Iterator[bytes]:
    yield struct.pack(">I", len(head)) + head
    for index, chunk in enumerate(_chunks(file)):
        if index in missing:
            yield struct.pack(">I", len(chunk)) + chunk


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        yield from chunks.split(stream)
