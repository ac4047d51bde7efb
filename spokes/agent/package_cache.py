"""Packages on the machine, put together from chunks of which only the missing ones are fetched.

A manifest says which chunks, how to open each, and what the whole must be. What is there stays there for the next
version; a transfer that breaks off goes on with what is missing; nothing is used whose digest is not the one that the
sealed job named.
"""

import errno
import hashlib
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from config.limits import SpokeLimits
from spokes.agent.errors import GatewayUnreachable, PartsDamaged
from spokes.agent.machine import Entry, Machine
from spokes.agent.private_files import write_private
from wire.chunks_sealed import Manifest, ManifestChunk, open_chunk, open_manifest
from wire.crash import crash_point
from wire.errors import Code, Refused
from wire.messages import PackageRef

Done = TypeVar("Done")

logger = logging.getLogger(__name__)

_EXTENSION = re.compile(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8})?")
_TRIES_A_CHUNK = 3
_PUT_BYTES = 4 * 1024 * 1024
_EVICT_TO = 0.8
_SPARE = 1.1


class Source(Protocol):
    """Where manifests and chunks come from: the gateway, or whoever stands between."""

    def manifest(self, manifest_id: str, capability: str) -> bytes: ...

    def chunks(self, ids: Sequence[bytes], capability: str) -> Iterator[tuple[bytes, bytes]]: ...


class PackageCache:
    """Used by all job threads; one package is fetched by one of them at a time.

    Args:
        machine: Whose `packages` and `chunks` these are.
        source: Asked for what is missing.
        free_bytes: Space left where the machine's home lies.
        index: File that remembers the digests of what was unpacked from .tar.zst.
        sleep: Waits between two tries.
    """

    def __init__(
        self,
        machine: Machine,
        source: Source,
        limits: SpokeLimits,
        *,
        free_bytes: Callable[[], int],
        index: Path,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._machine = machine
        self._source = source
        self._limits = limits
        self._free_bytes = free_bytes
        self._index = index
        self._sleep = sleep
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._unpacked = _read_index(index)
        self._fetched_since_eviction = 0

    def fetch(self, ref: PackageRef, capability: str) -> str:
        """The absolute path of the package on the machine, whole and checked just now.

        Raises:
            Refused: BLOB_{HASH,TRUNC,SIZE,SPACE}, or what the gateway says about the capability.
            GatewayUnreachable: For longer than a transfer may take.
        """
        expands = ref.extension == "tar.zst"
        name = f"{ref.sha256}.{_extension(ref)}"
        with self._only_one(name):
            if not self._is_there(name, ref):
                self._make(name, ref, capability, expand=expands)
        return f"{self._machine.home}/packages/{name}"

    def content(self, ref: PackageRef, capability: str, most: int) -> bytes:
        """The bytes of a small package, in memory alone."""
        manifest = self._manifest(ref, capability)
        if manifest.size > most:
            raise Refused(Code.BLOB_SIZE, f"{manifest.size} bytes; at most {most}")
        fetched: dict[str, bytes] = {}
        self._until_done(lambda: self._fetch_missing(manifest, capability, fetched.__contains__, fetched.update))
        whole = b"".join(fetched[chunk.sha256.hex()] for chunk in manifest.chunks)
        _must_be(whole, ref)
        return whole

    def evict(self, in_use: set[str] | None = None) -> None:
        """Remove what was used longest ago, packages and chunks alike, where there is more than the limit allows."""
        kept = in_use or set()
        entries = [
            (entry.used_at, f"{folder}/{name}", entry.size)
            for folder in ("packages", "chunks")
            for name, entry in self._machine.list(folder).items()
        ]
        surplus = sum(size for _, _, size in entries) - self._limits.cache_bytes
        if surplus <= 0:
            return
        surplus += int(self._limits.cache_bytes * (1 - _EVICT_TO))
        going = []
        for _, path, size in sorted(entries):
            if surplus <= 0:
                break
            if path not in kept:
                going.append(path)
                surplus -= size
        self._machine.remove(going)
        logger.info("cache trimmed", extra={"files": len(going)})

    def _is_there(self, name: str, ref: PackageRef) -> bool:
        """Damage is found here, before use."""
        entry = self._machine.list("packages", [name], hashed=True).get(name)
        if entry is None:
            return False
        if entry.sha256 == self._unpacked.get(ref.sha256, ref.sha256):
            return True
        logger.warning("a package in the cache is damaged and is made anew", extra={"package": ref.sha256})
        self._machine.remove([f"packages/{name}"])
        return False

    def _make(self, name: str, ref: PackageRef, capability: str, *, expand: bool) -> None:
        manifest = self._manifest(ref, capability)
        self._must_fit(manifest.size)

        def fetch_and_join() -> Entry:
            stored = self._stored(manifest)
            self._fetch_missing(manifest, capability, stored.__contains__, self._store)
            parts = [chunk.sha256.hex() for chunk in manifest.chunks]
            return self._machine.concatenate(parts, f"packages/{name}", sha256=ref.sha256, expand=expand)

        made = self._until_done(fetch_and_join)
        if expand:
            self._note_unpacked(ref, made)
        self._fetched_since_eviction += made.size
        if self._fetched_since_eviction > self._limits.cache_bytes // 10:
            self._fetched_since_eviction = 0
            self.evict({f"packages/{name}"})

    def _note_unpacked(self, ref: PackageRef, made: Entry) -> None:
        with self._lock:
            self._unpacked[ref.sha256] = made.sha256
            write_private(self._index, json.dumps(self._unpacked).encode())

    def _manifest(self, ref: PackageRef, capability: str) -> Manifest:
        key = bytes.fromhex(ref.manifest_key)
        stored = self._until_done(lambda: self._source.manifest(ref.manifest_id, capability))
        manifest = open_manifest(key, ref.manifest_id, stored, ref.manifest_sha256)
        if manifest.sha256.hex() != ref.sha256:
            raise Refused(Code.BLOB_HASH, "the manifest is of another package than the job names")
        if manifest.size != ref.size or sum(chunk.length for chunk in manifest.chunks) != ref.size:
            raise Refused(Code.BLOB_SIZE, "the manifest's sizes are not that of the package")
        return manifest

    def _must_fit(self, size: int) -> None:
        free = self._free_bytes()
        if free < size * _SPARE:
            raise Refused(Code.BLOB_SPACE, f"{size} bytes to fetch and {free} bytes free; make room on the target")

    def _stored(self, manifest: Manifest) -> set[str]:
        lengths = {chunk.sha256.hex(): chunk.length for chunk in manifest.chunks}
        there = self._machine.list("chunks", list(lengths))
        return {name for name, entry in there.items() if entry.size == lengths[name]}

    def _store(self, chunks: dict[str, bytes]) -> None:
        # Not durable: what a power cut spoils is found by its digest and fetched again.
        self._machine.put("chunks", chunks.items(), durable=False)
        crash_point("package.fetched")

    def _fetch_missing(
        self,
        manifest: Manifest,
        capability: str,
        is_stored: Callable[[str], bool],
        store: Callable[[dict[str, bytes]], None],
    ) -> None:
        missing = {chunk.id: chunk for chunk in manifest.chunks if not is_stored(chunk.sha256.hex())}
        tries = 0
        while missing:
            batch = list(missing)[: self._limits.chunk_request]
            bad = _Batch(missing, batch).fetch(self._source.chunks(batch, capability), store)
            tries = tries + 1 if bad else 0
            if bad and tries >= _TRIES_A_CHUNK:
                raise Refused(Code.BLOB_HASH, f"chunk {bad.hex()} came {tries} times and was never right")

    def _until_done(self, step: Callable[[], Done]) -> Done:
        """Do it again after what passes: a connection that broke, a chunk in the store that went bad."""
        tries = _Tries(self._limits.transfer_s)
        while True:
            try:
                return step()
            except GatewayUnreachable as error:
                pause_s = tries.after_silence(error)
            except PartsDamaged as error:
                pause_s = tries.after_damage(Refused(Code.BLOB_HASH, str(error)))
            except Refused as refusal:
                if refusal.code is not Code.BLOB_TRUNC:
                    raise
                pause_s = tries.after_damage(refusal)
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                    raise
                raise Refused(Code.BLOB_SPACE, "the disk filled up; make room on the target") from error
            self._sleep(pause_s)

    @contextmanager
    def _only_one(self, name: str) -> Iterator[None]:
        with self._lock:
            lock = self._busy.setdefault(name, threading.Lock())
        with lock:
            yield


class _Tries:
    """How long to go on: with a silent gateway until the time is up, with damage a few times."""

    def __init__(self, most_s: float) -> None:
        self._ends = time.monotonic() + most_s
        self._silences = 0
        self._damages = 0

    def after_silence(self, error: GatewayUnreachable) -> float:
        self._silences += 1
        if time.monotonic() > self._ends:
            raise error
        return random.uniform(0.1, min(30.0, 0.5 * 2**self._silences))  # noqa: S311  Jitter is no secret.

    def after_damage(self, refusal: Refused) -> float:
        self._damages += 1
        if self._damages >= _TRIES_A_CHUNK:
            raise refusal
        return 0.2 * self._damages


class _Batch:
    """One request's chunks; what is right is stored and crossed off, what is wrong stays missing."""

    def __init__(self, missing: dict[bytes, ManifestChunk], asked: Sequence[bytes]) -> None:
        self._missing = missing
        self._awaited = set(asked)
        self._opened: dict[str, bytes] = {}
        self._size = 0
        self._bad: bytes | None = None

    def fetch(self, stream: Iterator[tuple[bytes, bytes]], store: Callable[[dict[str, bytes]], None]) -> bytes | None:
        """Take all that comes; returns the id of a chunk that was not right, if one was.

        Raises:
            Refused: BLOB_SIZE for a chunk that nobody asked for; BLOB_TRUNC if some never came.
        """
        try:
            for chunk_id, stored in stream:
                if chunk_id not in self._awaited:
                    raise Refused(Code.BLOB_SIZE, "a chunk came that was not asked for, or came twice")
                self._awaited.discard(chunk_id)
                self._open(chunk_id, stored)
                if self._size >= _PUT_BYTES:
                    self._flush(store)
        finally:
            self._flush(store)
        if self._awaited:
            raise Refused(Code.BLOB_TRUNC, f"{len(self._awaited)} chunks never came, {min(self._awaited).hex()} is one")
        return self._bad

    def _open(self, chunk_id: bytes, stored: bytes) -> None:
        chunk = self._missing[chunk_id]
        try:
            self._opened[chunk.sha256.hex()] = open_chunk(chunk.key, chunk_id, stored, chunk.length, chunk.sha256)
        except Refused as refusal:
            logger.warning("chunk refused", extra={"chunk": chunk_id.hex(), "code": refusal.code})
            self._bad = chunk_id
            return
        self._size += chunk.length
        del self._missing[chunk_id]

    def _flush(self, store: Callable[[dict[str, bytes]], None]) -> None:
        opened, self._opened, self._size = self._opened, {}, 0
        if opened:
            store(opened)


def _extension(ref: PackageRef) -> str:
    if not _EXTENSION.fullmatch(ref.extension):
        raise Refused(Code.ENV_SCHEMA, "a package's extension is a word or two", field="packages.extension")
    return "tar" if ref.extension == "tar.zst" else ref.extension


def _must_be(whole: bytes, ref: PackageRef) -> None:
    if hashlib.sha256(whole).hexdigest() != ref.sha256:
        raise Refused(Code.BLOB_HASH, "every chunk is sound, but together they are not what was announced")


def _read_index(path: Path) -> dict[str, str]:
    """What cannot be read is unpacked again."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
