"""The package feed of an installed hub, pushed to as portal and engine do; and archives to push."""

import hashlib
import io
import json
import random
import struct
import tarfile
import zipfile

from hub.packages.chunk_store import ChunkStore
from hub.packages.feed import PushComplete, push_complete
from hub.packages.incoming import PushListing
from hub.packages.ingest import Ingested, Ingestion
from hub.packages.names import parse_filename
from hub.storage.database import write_tx
from hub.storage.models import PackageVersion
from tests.fakes.installed_hub import InstalledHub
from wire.chunks import split


class Feed:
    """Portal and engine in one: pushes files and makes versions."""

    def __init__(self, hub: InstalledHub, **options) -> None:
        self.hub = hub
        self.store = ChunkStore(hub.home / "chunks")
        self.ingestion = Ingestion(self.store, hub.portal, **options)

    def push(self, name: str, content: bytes) -> PackageVersion:
        return self.complete(self.ingestion.whole(parse_filename(name), io.BytesIO(content), length=len(content)))[0]

    def push_chunks(self, name: str, content: bytes) -> tuple[Ingested, bytes]:
        """As the command line does: ask, then send what is missing; the body that was sent, too."""
        chunks = list(split(io.BytesIO(content)))
        listing = PushListing(len(content), _sha256(content), tuple((_sha256(chunk), len(chunk)) for chunk in chunks))
        missing = self.ingestion.missing(parse_filename(name), listing)
        body = push_body(name, listing, [chunks[index] for index in missing])
        return self.ingestion.chunked(io.BytesIO(body), length=len(body)), body

    def complete(self, ingested: Ingested) -> tuple[PackageVersion, bool]:
        with write_tx():
            return push_complete(self.hub.acting(), PushComplete(**ingested.completion()))

    def files(self) -> list[str]:
        """Every file of the store."""
        return sorted(path.name for path in (self.hub.home / "chunks").rglob("*") if path.is_file())


def push_body(name: str, listing: PushListing, chunks: list[bytes]) -> bytes:
    head = json.dumps({"name": name, **listing.to_json()}).encode()
    return struct.pack(">I", len(head)) + head + b"".join(struct.pack(">I", len(chunk)) + chunk for chunk in chunks)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zip_of(**files: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


def tar_of(mode: str = "w", **files: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)
