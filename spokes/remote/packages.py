"""Packages on a target: put there as the chunks that it lacks; what is .tar.zst is unpacked beside the hub first.

The target's Python cannot unpack zstd, so there a package is its .tar, cut into chunks of its own: a second version
then sends what changed in the .tar.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from config.limits import SpokeLimits
from spokes.agent.errors import PartsDamaged
from spokes.agent.package_cache import PackageCache, Source
from spokes.remote.machine import RemoteMachine
from wire.chunks import split
from wire.errors import Code, Refused
from wire.messages import PackageRef

logger = logging.getLogger(__name__)

_PUT_BYTES = 4 * 1024 * 1024
_TRIES = 3


class RemotePackages(PackageCache):
    """As any cache, but for what the target cannot unpack.

    Args:
        here: The cache beside the hub, for all targets.
    """

    def __init__(
        self, machine: RemoteMachine, source: Source, limits: SpokeLimits, *, index: Path, here: PackageCache
    ) -> None:
        super().__init__(machine, source, limits, free_bytes=machine.free_bytes, index=index)
        self._there = machine
        self._here = here

    def _make(self, name: str, ref: PackageRef, capability: str, *, expand: bool) -> None:
        if not expand:
            super()._make(name, ref, capability, expand=False)
            return
        path = Path(self._here.fetch(ref, capability))
        self._must_fit(path.stat().st_size)
        for _ in range(_TRIES):
            try:
                self._bring(path, name, ref)
            except PartsDamaged as error:
                logger.warning("chunks on the target are damaged", extra={"why": str(error)})
            else:
                return
        raise Refused(Code.BLOB_HASH, "chunks on the target were damaged each time")

    def _bring(self, path: Path, name: str, ref: PackageRef) -> None:
        whole, lengths = hashlib.sha256(), {}
        order: list[str] = []
        with path.open("rb") as file:
            for piece in split(file):
                whole.update(piece)
                digest = hashlib.sha256(piece).hexdigest()
                order.append(digest)
                lengths[digest] = len(piece)
        there = self._there.list("chunks", list(lengths))
        missing = {digest for digest, size in lengths.items() if digest not in there or there[digest].size != size}
        with path.open("rb") as file:
            self._put(missing, order, lengths, file.read)
        made = self._there.concatenate(order, f"packages/{name}", sha256=whole.hexdigest())
        self._note_unpacked(ref, made)

    def _put(self, missing: set[str], order: list[str], lengths: dict[str, int], read: Callable[[int], bytes]) -> None:
        batch: dict[str, bytes] = {}
        size = 0
        for digest in order:
            piece = read(lengths[digest])
            if digest in missing:
                missing.discard(digest)
                batch[digest] = piece
                size += len(piece)
            if size >= _PUT_BYTES:
                self._store(batch)
                batch, size = {}, 0
        if batch:
            self._store(batch)
