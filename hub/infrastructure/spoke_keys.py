"""The directory of spokes' signing keys: whom the hub believes, read from sealed rows."""

from hub.states import SpokeKind, SpokeState
from hub.storage.database import connection
from hub.storage.models import FormerKey, Spoke
from hub.storage.prepared import PreparedRows, hole
from hub.storage.seals import RowSeals
from wire.errors import Code, Refused
from wire.keys import VerifyKey, hex_bytes
from wire.roles import Role, TrustedKey

_BY_KEY = PreparedRows(Spoke, lambda: Spoke.select().where(Spoke.sign_kid == hole("kid")))


class SpokeDirectory:
    """A KeyDirectory of the role spoke-sign; every look-up reads the row, so that a revocation counts at once."""

    def __init__(self, seals: RowSeals) -> None:
        self._seals = seals

    def key(self, kid: bytes, role: Role, at: int) -> TrustedKey:
        """The key of a trusted spoke.

        Raises:
            Refused: ENV_KEY for an unknown, revoked or altered one, JOIN_PENDING for one that nobody has approved.
        """
        unknown = Refused(Code.ENV_KEY, f"no key {kid.hex()} as {role}")
        if role is not Role.SPOKE_SIGN:
            raise unknown
        with connection():
            row = _BY_KEY.one(kid=kid.hex())
            if row is None:
                return self._announced(kid) or self._former(kid, at, unknown)
        # A relay's key proves who enrolled; it carries what others sign, and signs nothing that counts.
        if not self._seals.holds(row) or row.state == SpokeState.REVOKED or row.kind == SpokeKind.RELAY:
            raise unknown
        if row.state == SpokeState.PENDING:
            raise Refused(Code.JOIN_PENDING, f"spoke {row.id} waits for approval")
        return TrustedKey(VerifyKey.of(hex_bytes(row.sign_pk, 32)), Role.SPOKE_SIGN, row.id)

    def _announced(self, kid: bytes) -> TrustedKey | None:
        """A key that `rotate` has announced; it takes over with its first frame."""
        rows = Spoke.select().where(Spoke.next_sign_pk.is_null(False), Spoke.state == SpokeState.TRUSTED)
        for row in rows:
            key = VerifyKey.of(hex_bytes(row.next_sign_pk, 32))
            if key.kid == kid and self._seals.holds(row):
                return TrustedKey(key, Role.SPOKE_SIGN, row.id)
        return None

    def _former(self, kid: bytes, at: int, unknown: Refused) -> TrustedKey:
        """A key that was replaced a moment ago: what was on its way under it counts; an end says that it is former."""
        row: FormerKey | None = FormerKey.get_or_none(FormerKey.kid == kid.hex())
        if row is None or at * 1000 >= row.until or not self._seals.holds(row):
            raise unknown
        spoke: Spoke | None = Spoke.get_or_none(Spoke.id == row.spoke, Spoke.state == SpokeState.TRUSTED)
        if spoke is None or not self._seals.holds(spoke):
            raise unknown
        return TrustedKey(
            VerifyKey.of(hex_bytes(row.public_key, 32)), Role.SPOKE_SIGN, row.spoke, naf=row.until // 1000
        )
