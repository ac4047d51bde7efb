"""Which chunks of a package the hub lacks: asked and answered within one package id alone.

A hash by itself must never be enough to get at bytes: else whoever may push could read other people's packages, or
learn what is in them. So a chunk counts as held only if a version of the same package id has it.
"""

from collections.abc import Iterable

from hub.packages.incoming import PushListing
from hub.packages.many import among, tuples_of
from hub.storage.models import Package, PackageChunk, PackageVersion
from wire.chunks_sealed import ChunkKeys


def missing(keys: ChunkKeys, package: str, listing: PushListing) -> list[int]:
    """Indexes of the listed chunks that must be sent; a chunk that occurs twice is asked for once.

    Args:
        keys: Turn plain hashes into ids.
        package: The package id, as its file name says it; the caller may read it.
        listing: What the pusher holds.
    """
    ids = [keys.chunk_id(bytes.fromhex(sha256)).hex() for sha256, _ in listing.chunks]
    settled = held(package, ids)
    wanted = []
    for index, chunk_id in enumerate(ids):
        if chunk_id not in settled:
            settled.add(chunk_id)
            wanted.append(index)
    return wanted


def held(package: str, ids: Iterable[str]) -> set[str]:
    """Those of the chunk ids that some version of the package has."""
    query = (
        PackageChunk.select(PackageChunk.chunk)
        .join(PackageVersion, on=PackageChunk.package_version == PackageVersion.id)
        .join(Package, on=PackageVersion.package == Package.id)
        .where(Package.name == package, among(PackageChunk.chunk, ids))
        .distinct()
    )
    return {chunk_id for (chunk_id,) in tuples_of(query)}
