"""Moving the root or release key out of the hub, into a file under a passphrase, to be kept where the hub is not."""

import json
import os
from pathlib import Path

from hub.errors import Conflict, Invalid, KeyringDamaged
from hub.states import HubKeyState
from hub.storage.hub_keys import signing_key
from hub.storage.models import HubKey
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault, length_prefixed, open_sealed, seal_bytes
from hub.storage.vault_master import PASSPHRASE_LEAST, PassphraseCost, stretch, write_private
from wire.keys import SigningKey
from wire.roles import Role

EXPORTABLE = (Role.HUB_ROOT, Role.HUB_RELEASE)

_FORMAT = "manyarm-key-1"
_SALT_BYTES = 16


def write_exported(vault: Vault, role: Role, passphrase: str, path: Path, cost: PassphraseCost | None = None) -> None:
    """Write the key's file; the hub still holds the key until `forget_exported`.

    Raises:
        Invalid: the role stays in the hub, the passphrase is short, or the file exists.
    """
    if role not in EXPORTABLE:
        raise Invalid(f"{role}: only {' and '.join(EXPORTABLE)} can be exported", field="role")
    if len(passphrase) < PASSPHRASE_LEAST:
        raise Invalid(f"a passphrase has at least {PASSPHRASE_LEAST} characters", field="passphrase")
    key, salt, chosen = signing_key(vault, role), os.urandom(_SALT_BYTES), cost or PassphraseCost()
    sealed = seal_bytes(stretch(passphrase, salt, chosen), _place(role, key.kid.hex()), key.seed)
    content = {
        "format": _FORMAT,
        "role": role,
        "kid": key.kid.hex(),
        "salt": salt.hex(),
        "ops": chosen.ops,
        "memory_bytes": chosen.memory_bytes,
        "sealed": sealed.hex(),
    }
    write_private(path, json.dumps(content) + "\n")


def forget_exported(seals: RowSeals, role: Role, path: Path, passphrase: str) -> HubKey:
    """Take the private half out of the database, once the file was proved to give it back; inside `write_tx`.

    Raises:
        Conflict: the file holds another key than the hub.
    """
    key = read_exported(path, passphrase)
    row: HubKey | None = HubKey.get_or_none(HubKey.kid == key.kid.hex(), HubKey.role == role)
    if row is None or row.state != HubKeyState.ACTIVE:
        raise Conflict(f"{path}: it is not the {role} key of this hub")
    row.private_sealed = None
    row.state = HubKeyState.EXPORTED
    seals.seal(row)
    row.save()
    return row


def read_exported(path: Path, passphrase: str) -> SigningKey:
    """The key of such a file.

    Raises:
        Invalid: the passphrase is wrong.
        KeyringDamaged: the file is none of ours.
    """
    try:
        given = json.loads(path.read_text("ascii"))
        if given["format"] != _FORMAT:
            raise KeyringDamaged(f"{path}: it is no exported key")
        cost = PassphraseCost(int(given["ops"]), int(given["memory_bytes"]))
        wrapping = stretch(passphrase, bytes.fromhex(given["salt"]), cost)
        seed = open_sealed(wrapping, _place(given["role"], given["kid"]), bytes.fromhex(given["sealed"]))
    except (ValueError, KeyError, TypeError) as error:
        raise KeyringDamaged(f"{path}: it is no exported key") from error
    if seed is None:
        raise Invalid(f"{path}: the passphrase is wrong, or the file was altered", field="passphrase")
    return SigningKey.from_seed(seed)


def _place(role: str, kid: str) -> bytes:
    return length_prefixed("manyarm/v1/exported-key", role, kid)
