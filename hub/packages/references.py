"""How a sealed job names a package: manifest, key and digest; and the capability by which the spoke may fetch it."""

from collections.abc import Iterable

from hub.packages.feed import by_id
from hub.packages.sealed_keys import open_manifest_key
from hub.storage.models import Package, PackageVersion
from hub.storage.prepared import Prepared, PreparedRows, hole
from hub.storage.vault import Vault
from wire.chunks_sealed import Capability, make_capability
from wire.messages import PackageRef, PackageRole

_VERSION = PreparedRows(PackageVersion, lambda: PackageVersion.select().where(PackageVersion.id == hole("id")))
_NAME = Prepared(lambda: Package.select(Package.name).where(Package.id == hole("id")))


def refs_for(vault: Vault, package_version_id: str, role: PackageRole | str = PackageRole.PACKAGE) -> PackageRef:
    """The reference, for the body of a command: sealed there, for it holds the manifest's key."""
    row = _version(package_version_id)
    key = open_manifest_key(vault, row.manifest_id, row.manifest_key_sealed)
    is_runner = PackageRole(role) is PackageRole.RUNNER
    return PackageRef(
        role=PackageRole(role),
        manifest_id=row.manifest_id,
        manifest_key=key.hex(),
        manifest_sha256=row.manifest_sha256,
        package=_name(row.package),
        version=row.version,
        extension=row.extension,
        size=row.size,
        sha256=row.sha256,
        release=row.release_document.hex() if is_runner and row.release_document is not None else "",
    )


def _version(package_version_id: str) -> PackageVersion:
    row = _VERSION.one(id=package_version_id)
    return row if row is not None else by_id(package_version_id)


def _name(package: str) -> str:
    ((name,),) = _NAME.tuples(id=package)
    return str(name)


def capability_for(vault: Vault, spoke_id: str, manifest_ids: Iterable[str], expires_at_s: int, job: str = "") -> str:
    """What this spoke shows the gateway to fetch these manifests and their chunks, until then (UTC seconds).

    Args:
        vault: The engine's; the gateway knows the mark by the same key.
        spoke_id: Whose it is.
        manifest_ids: What may be fetched.
        expires_at_s: When it ends.
        job: The run whose artifacts may be brought; none without it.
    """
    return make_capability(vault.capability_key(), Capability(spoke_id, tuple(manifest_ids), expires_at_s, job))
