"""Opens the stored manifest of a package version."""

from hub.packages.errors import StoreDamaged
from hub.packages.sealed_keys import open_manifest_key
from hub.storage.models import PackageVersion, StoredManifest
from hub.storage.vault import Vault
from wire.chunks_sealed import Manifest, open_manifest
from wire.errors import Refused


def manifest_of(vault: Vault, row: PackageVersion) -> Manifest:
    """The manifest, checked against the row.

    Raises:
        StoreDamaged: it is gone, or not what the row says.
    """
    stored: StoredManifest | None = StoredManifest.get_or_none(StoredManifest.id == row.manifest_id)
    if stored is None or stored.sealed is None:
        raise StoreDamaged(f"the manifest of package version {row.id} is missing")
    key = open_manifest_key(vault, row.manifest_id, row.manifest_key_sealed)
    try:
        return open_manifest(key, row.manifest_id, stored.sealed, row.manifest_sha256)
    except Refused as refusal:
        raise StoreDamaged(f"the manifest of package version {row.id} is damaged: {refusal.code}") from refusal
