"""Who may sign what: the roles, one trusted key, and the directory in which keys are looked up.

A key id is a hint; the decision is: known under this role, not revoked, inside its validity, then the signature. PURE.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from wire.errors import Code, Refused
from wire.keys import VerifyKey

FOR_EVER = 2**53 - 1


class Role(StrEnum):
    """What a key may sign; each key has one."""

    HUB_ROOT = "hub-root"
    HUB_COMMAND = "hub-command"
    HUB_PORTAL = "hub-portal"
    HUB_RELEASE = "hub-release"
    HUB_AUDIT = "hub-audit"
    HUB_ROWS = "hub-rows"
    SPOKE_SIGN = "spoke-sign"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key, what it may sign, whose it is, and from when (inclusive) until when (exclusive; UTC seconds)."""

    verify_key: VerifyKey
    role: Role
    owner: str
    nbf: int = 0
    naf: int = FOR_EVER

    @property
    def kid(self) -> bytes:
        return self.verify_key.kid

    @property
    def pk(self) -> bytes:
        return self.verify_key.pk

    def is_valid(self, at: int) -> bool:
        return self.nbf <= at < self.naf


class KeyDirectory(Protocol):
    """Where a receiver looks a signer up."""

    def key(self, kid: bytes, role: Role, at: int) -> TrustedKey:
        """The key of that id and role, valid at that time; Refused(ENV_KEY) otherwise."""
        ...


class KeyTable:
    """A directory of keys held in memory, by (role, kid); revoked ones are not in it."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[TrustedKey] = ()) -> None:
        self._keys = {(key.role, key.kid): key for key in keys}

    def key(self, kid: bytes, role: Role, at: int) -> TrustedKey:
        found = self.held(kid, role)
        if not found.is_valid(at):
            raise Refused(Code.ENV_KEY, f"key {kid.hex()} as {role} is not valid at this time")
        return found

    def timeless(self) -> "TimelessKeys":
        return TimelessKeys(self)

    def held(self, kid: bytes, role: Role) -> TrustedKey:
        """The key without regard to time."""
        found = self._keys.get((role, kid))
        if found is None:
            raise Refused(Code.ENV_KEY, f"no key {kid.hex()} as {role}")
        return found


class TimelessKeys:
    """The same keys without regard to time: for a receiver that has no time yet, and is about to be told it."""

    __slots__ = ("_table",)

    def __init__(self, table: KeyTable) -> None:
        self._table = table

    def key(self, kid: bytes, role: Role, at: int) -> TrustedKey:  # noqa: ARG002  the directory's signature
        return self._table.held(kid, role)
