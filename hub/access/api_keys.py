"""API keys: `mak_<id>_<43 characters>_<checksum>`, shown once, stored as a hash, never older than a year.

What a key may do is what its owner may do at that moment, and of that only its scopes.
"""

import base64
import hashlib
import hmac
import os
import re
import zlib
from collections.abc import Collection

from hub.access.caller import Caller, api_key_row, caller_of_key, user_row
from hub.errors import Conflict, Invalid, NotSignedIn
from hub.permissions import Permission
from hub.states import UserState
from hub.storage.database import write_tx
from hub.storage.models import ApiKey, User
from hub.storage.seals import RowSeals
from wire.secret import Secret

LONGEST_MS = 366 * 24 * 60 * 60 * 1000
TOUCH_MS = 60_000

_FORM = re.compile(r"(mak_([0-9a-f]{8})_([A-Za-z0-9_-]{43}))_([0-9a-f]{8})")
_REFUSAL = "the API key is unknown, revoked or expired"


def new_api_key(
    seals: RowSeals, user: User, name: str, now_ms: int, *, expires_at: int, scopes: Collection[str] | None = None
) -> tuple[ApiKey, Secret]:
    """Make a key for a person; inside `write_tx`.

    Returns:
        The row, and the key's text, to be shown once.

    Raises:
        Invalid: no name, a scope that is no permission, or an expiry that is past or more than a year away.
    """
    unknown = sorted(set(scopes or ()) - set(Permission))
    if unknown:
        raise Invalid(
            f"scope {unknown[0]!r}: expected a permission such as {Permission.DEPLOYMENT_CREATE}", field="scopes"
        )
    if not name.strip() or len(name) > 100:
        raise Invalid("a key's name has 1 to 100 characters", field="name")
    if not now_ms < expires_at <= now_ms + LONGEST_MS:
        raise Invalid("a key expires within a year", field="expires_at")
    key_id, secret = os.urandom(4).hex(), base64.urlsafe_b64encode(os.urandom(32)).decode("ascii").rstrip("=")
    if ApiKey.select().where(ApiKey.id == key_id).exists():
        raise Conflict("two keys drew the same id: try again")
    row = ApiKey(
        id=key_id,
        user=user.id,
        name=name,
        sha256=_digest(secret),
        scopes=None if scopes is None else sorted(scopes),
        created_at=now_ms,
        expires_at=expires_at,
    )
    seals.seal(row)
    row.save(force_insert=True)
    body = f"mak_{key_id}_{secret}"
    return row, Secret(f"{body}_{_checksum(body)}")


def verify(text: str, seals: RowSeals, now_ms: int) -> ApiKey:
    """The live key of a text, joined with the live state of its owner; it is now used.

    Raises:
        NotSignedIn: one text for every reason.
        SealBroken: the row was changed outside the hub.
    """
    row = _proved(text, seals, now_ms)
    owner = user_row(row.user)
    if owner is None or owner.state is not UserState.ACTIVE:
        raise NotSignedIn(_REFUSAL)
    _touch(row, now_ms)
    return row


def caller_by(text: str, seals: RowSeals, now_ms: int) -> Caller:
    """Whoever brings that key, with the rights of this moment; it is now used. Raises as `verify`."""
    row = _proved(text, seals, now_ms)
    try:
        caller = caller_of_key(row, seals)
    except NotSignedIn as error:
        raise NotSignedIn(_REFUSAL) from error
    _touch(row, now_ms)
    return caller


def _proved(text: str, seals: RowSeals, now_ms: int) -> ApiKey:
    """The key's row, if the text proves it; nothing is said of its owner yet."""
    found = _FORM.fullmatch(text)
    if found is None or found[4] != _checksum(found[1]):
        raise NotSignedIn(_REFUSAL)
    row = api_key_row(found[2])
    # An unknown id costs the same comparison as a known one.
    right = hmac.compare_digest(_digest(found[3]).encode(), (row.sha256 if row is not None else "0" * 64).encode())
    if row is None or not right or row.revoked_at is not None or now_ms >= row.expires_at:
        raise NotSignedIn(_REFUSAL)
    seals.check(row)
    return row


def _touch(row: ApiKey, now_ms: int) -> None:
    if row.used_at is None or now_ms - row.used_at >= TOUCH_MS:
        with write_tx():
            ApiKey.update(used_at=now_ms).where(ApiKey.id == row.id).execute()


def revoke_api_key(seals: RowSeals, row: ApiKey, now_ms: int) -> None:
    """From now on it opens nothing; inside `write_tx`. Twice does no harm."""
    if row.revoked_at is not None:
        return
    row.revoked_at = now_ms
    row.version += 1
    seals.seal_end(row)
    row.save()


def revoke_keys_of(seals: RowSeals, user_id: str, now_ms: int) -> int:
    """Revoke all of a person's keys; inside `write_tx`."""
    rows = list(ApiKey.select().where(ApiKey.user == user_id, ApiKey.revoked_at.is_null()))
    for row in rows:
        revoke_api_key(seals, row, now_ms)
    return len(rows)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode('ascii')):08x}"
