"""Pushes one package file: asks which of its chunks the hub lacks within that package, and sends those alone."""

import hashlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from hub.cli.client.hub_api import HubApi, Json, part
from hub.cli.ending import CommandFailed, Status
from wire import chunks

_ASK_AT_ONCE = 4_096
_SEND_BYTES = 8 * 1024 * 1024
# The same rule as the hub's: ID.VERSION.EXT, the version beginning at the first part that begins with a digit.
_FILE_NAME = re.compile(
    r"(?P<id>[A-Za-z][\w-]*(?:\.[A-Za-z_][\w-]*)*)\.(?P<version>\d[\w.+-]*?)"
    r"\.(?P<extension>zip|tar|tar\.gz|tgz|tar\.bz2|tar\.zst|nupkg|whl|jar)",
    re.ASCII,
)


def push_chunks(hub: HubApi, file: Path, size: int, sha256: str) -> Json:
    """Push the file; the answer is that of POST /packages, with what the hub lacked as `chunks_new` and `bytes_new`."""
    named = _FILE_NAME.fullmatch(file.name)
    if named is None:
        raise CommandFailed(
            f"{file.name}: expected ID.VERSION.EXT, such as storefront.1.4.2.tar.gz "
            "(zip, tar, tar.gz, tar.bz2, tar.zst, nupkg, whl, jar)",
            Status.USAGE,
        )
    package, version = part(named["id"]), part(named["version"])
    listed = [(hashlib.sha256(chunk).hexdigest(), len(chunk)) for chunk in _chunks(file)]
    lacking = _lacking(hub, package, [digest for digest, _ in listed])
    for bundle in _bundles(file, lacking):
        hub.send_bytes(f"/packages/{package}/{version}/chunks", bundle)
    body = {"extension": named["extension"], "size": size, "sha256": sha256, "chunks": listed}
    answer = hub.post(f"/packages/{package}/{version}", body)
    sizes = dict(listed)
    return {**answer, "chunks_new": len(lacking), "bytes_new": sum(sizes[digest] for digest in lacking)}


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        yield from chunks.split(stream)


def _lacking(hub: HubApi, package: str, digests: list[str]) -> set[str]:
    wanted = list(dict.fromkeys(digests))
    lacking: set[str] = set()
    for start in range(0, len(wanted), _ASK_AT_ONCE):
        asked = wanted[start : start + _ASK_AT_ONCE]
        lacking.update(hub.post(f"/packages/{package}/missing-chunks", {"sha256": asked})["missing"])
    return lacking


def _bundles(file: Path, lacking: set[str]) -> Iterator[bytes]:
    """The lacking chunks, each once, some megabytes a request."""
    left = set(lacking)
    bundle = bytearray()
    for chunk in _chunks(file):
        digest = hashlib.sha256(chunk).hexdigest()
        if digest in left:
            left.discard(digest)
            bundle += struct.pack(">I", len(chunk)) + chunk
        if len(bundle) >= _SEND_BYTES:
            yield bytes(bundle)
            bundle.clear()
    if bundle:
        yield bytes(bundle)
