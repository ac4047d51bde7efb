"""The one-time setup code: whoever reads it on the console becomes the first administrator; no default account is."""

import base64
import hashlib
import os

from hub.errors import NotAllowed
from hub.storage.models import SetupCode
from hub.storage.seals import RowSeals

VALID_MS = 24 * 60 * 60 * 1000
_GROUP = 4


def new_setup_code(seals: RowSeals, now_ms: int) -> str:
    """A fresh code, to be shown once; earlier ones that nobody used end here. Inside `write_tx`."""
    SetupCode.delete().where(SetupCode.used_at.is_null()).execute()
    letters = base64.b32encode(os.urandom(15)).decode("ascii").lower()
    row = SetupCode(sha256=_digest(letters), expires_at=now_ms + VALID_MS)
    seals.seal(row)
    row.save(force_insert=True)
    return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))


def use_setup_code(code: str, seals: RowSeals, now_ms: int) -> None:
    """Spend a code; of many who try at once one succeeds. Inside `write_tx`.

    Raises:
        NotAllowed: unknown, used or expired; one text for all.
    """
    refusal = NotAllowed("the setup code is unknown, used or expired: `manyarm init` prints a new one")
    letters = "".join(code.lower().split()).replace("-", "")
    row = SetupCode.get_or_none(SetupCode.sha256 == _digest(letters))
    if row is None or row.expires_at <= now_ms:
        raise refusal
    seals.check(row)
    unused = SetupCode.update(used_at=now_ms).where(SetupCode.id == row.id, SetupCode.used_at.is_null())
    if unused.execute() != 1:
        raise refusal


def _digest(letters: str) -> str:
    return hashlib.sha256(b"manyarm/v1/setup\0" + letters.encode("utf-8", "surrogatepass")).hexdigest()
