"""Row seals: a signature by hub-rows over the columns of a row that grant something, checked by every process on load.

Who can write SQL but holds no key can delete such a row, but not make or change one unnoticed. Checking needs the
public key alone. That a row was put back whole, with its old seal, shows in `audit verify`: events name each seal.
"""

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Sequence

from hub.errors import SealBroken
from hub.events.record import SealedRow, note_sealed
from hub.storage.models.table import SealedTable
from hub.storage.vault import length_prefixed
from wire.errors import Refused
from wire.keys import SigningKey, VerifyKey

_PROVED_MAX = 50_000
_LOOK_AGAIN_S = 1.0

Keys = tuple[Sequence[VerifyKey], SigningKey | None]
"""Whom row seals are believed from, and with what this process makes them."""


class RowSeals:
    """Seals rows where the signing key is held (the engine), checks them anywhere."""

    def __init__(
        self,
        *verify_keys: VerifyKey,
        signing: SigningKey | None = None,
        look_up: Callable[[], Keys] | None = None,
    ) -> None:
        """`look_up` says whom to believe now: keys are rotated while processes run."""
        self._look_up = look_up
        self._looked_s = 0.0
        self._proved: set[bytes] = set()
        self._known: dict[str, VerifyKey] = {}
        self._believe(verify_keys, signing)

    @property
    def signer_kid(self) -> str:
        """The key under which this process seals; "" where it only checks."""
        return self._signing.kid.hex() if self._signing is not None else ""

    def refresh(self) -> None:
        """Believe the keys of this moment."""
        if self._look_up is not None:
            self._looked_s = time.monotonic()
            self._believe(*self._look_up())

    def seal(self, row: SealedTable) -> None:
        """Set `row.seal`; the caller saves the row in this same `write_tx`.

        Raises:
            RuntimeError: this process holds no signing key, or is in no `write_tx`.
            SealBroken: the row that it replaces was changed outside the hub: an honest change makes no forgery good.
        """
        same = type(row)._meta.primary_key == row.sealed_id()  # noqa: SLF001  peewee's way to a table's key.
        stored: SealedTable | None = type(row).get_or_none(same)
        if stored is not None:
            self.check(stored)
        self.seal_end(row)

    def seal_end(self, row: SealedTable) -> None:
        """The same for a row that grants nothing any more and never will again, whatever it was before: a revocation
        must not fail because somebody has altered what is revoked.
        """
        row.seal = self.seal_of(row)
        note_sealed(SealedRow(row.table_name(), row.sealed_id(), row.sealed_version(), seal_sha256(row.seal)))

    def seal_of(self, row: SealedTable) -> str:
        if self._signing is None:
            raise RuntimeError("only the engine seals rows")
        signature = base64.b64encode(self._signing.sign(sealed_bytes(row))).decode("ascii")
        return f"{self._signing.kid.hex()}:{signature}"

    def check(self, row: SealedTable) -> None:
        """Raises SealBroken unless the row is as the engine sealed it."""
        content, seal = sealed_bytes(row), str(row.seal or "")
        # The very same bytes under the very same seal hold again: rows are loaded for each frame and each request.
        proof = hashlib.sha256(length_prefixed(content, seal)).digest()
        if proof in self._proved:
            return
        kid, _, text = seal.partition(":")
        key = self._known.get(kid) or self._found_again(kid)
        try:
            if key is None:
                raise SealBroken(f"{_name(row)}: it carries no seal of this hub")
            key.verify(content, base64.b64decode(text, validate=True))
        except (Refused, binascii.Error, ValueError) as error:
            raise SealBroken(f"{_name(row)}: it was changed outside the hub; it is not used") from error
        if len(self._proved) >= _PROVED_MAX:
            self._proved.clear()
        self._proved.add(proof)

    def _found_again(self, kid: str) -> VerifyKey | None:
        """A key that nobody knew a moment ago may have been made since."""
        if self._look_up is None or not kid or time.monotonic() - self._looked_s < _LOOK_AGAIN_S:
            return None
        self.refresh()
        return self._known.get(kid)

    def _believe(self, verify_keys: Sequence[VerifyKey], signing: SigningKey | None) -> None:
        every = (*verify_keys, signing.verify_key) if signing is not None else verify_keys
        known = {key.kid.hex(): key for key in every}
        if known != self._known:
            # What a former key proved is proved no longer.
            self._proved.clear()
        self._known, self._signing = known, signing

    def holds(self, row: SealedTable) -> bool:
        """`check` as a question."""
        try:
            self.check(row)
        except SealBroken:
            return False
        return True


def sealed_bytes(row: SealedTable) -> bytes:
    """What the signature covers: table, id, version, then each column's name and value."""
    parts: list[bytes | str] = ["manyarm/v1/row", row.table_name(), row.sealed_id(), str(row.sealed_version())]
    for column in row.SEALED:
        parts += [column, _encoded(row.sealed_value(column))]
    return length_prefixed(*parts)


def seal_sha256(seal: str) -> str:
    """As events name a seal."""
    return hashlib.sha256(seal.encode()).hexdigest()


def _encoded(value: bool | int | str | bytes | None) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i" + str(int(value)).encode()
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    return b"b" + bytes(value)


def _name(row: SealedTable) -> str:
    return f"{row.table_name()} {row.sealed_id()}"
