"""The broker passwords of the hub's own processes, derived from data keys: nothing is stored, and each knows its own.

The engine can tell the portal's, since it makes that user; the portal cannot tell the engine's.
"""

from hub.broker.node import NodeCredentials
from hub.storage.vault import Purpose, Vault, derive_key

_INFO = "manyarm/v1/broker"


def node_credentials(vault: Vault) -> NodeCredentials:
    """What a private node is started with; needs the engine's vault."""
    return NodeCredentials(hub_password(vault), admin_password(vault))


def hub_password(vault: Vault) -> str:
    return _derived(vault, Purpose.HUBKEYS, "hub")


def admin_password(vault: Vault) -> str:
    return _derived(vault, Purpose.HUBKEYS, "hub-admin")


def portal_password(vault: Vault) -> str:
    return _derived(vault, Purpose.SESSION, "portal")


def _derived(vault: Vault, purpose: Purpose, user: str) -> str:
    return derive_key(vault.keyring(purpose).active, _INFO, user).hex()
