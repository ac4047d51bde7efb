"""The key of a manifest as its row keeps it: a sealed block that engine and portal can open, the gateway cannot."""

from hub.storage.vault import Vault

_PURPOSE = "content"


def seal_manifest_key(vault: Vault, manifest_id: str, key: bytes) -> bytes:
    return vault.seal_block(_PURPOSE, ("manifest-key", manifest_id), key)


def open_manifest_key(vault: Vault, manifest_id: str, sealed: bytes) -> bytes:
    """The key; a sealed key of another manifest does not open."""
    return vault.open_block(_PURPOSE, ("manifest-key", manifest_id), sealed)
