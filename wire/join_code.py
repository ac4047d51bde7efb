"""What an administrator copies to a new machine: which hub to believe, and a token to be believed by it. PURE.

    "maj1-" base32( version u8 | root thumbprint 32 | token id 8 | token secret 16 | n u8 | host:port n | checksum 4 )

A typing error dies here, at the checksum, before any network use.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Self

from wire.address import is_address
from wire.errors import Code, Refused

PREFIX = "maj1-"
VERSION = 1
_ROOT, _ID, _SECRET, _CHECK = 32, 8, 16, 4
_FIXED = 1 + _ROOT + _ID + _SECRET + 1
_TEXT_MAX = 700
_LETTERS = re.compile(r"[a-z2-7]+")


@dataclass(frozen=True, slots=True, eq=False)
class JoinCode:
    """One use, short-lived; `address` is host:port of the gateway."""

    root_thumbprint: bytes
    token_id: bytes
    token_secret: bytes = field(repr=False)
    address: str

    def __post_init__(self) -> None:
        sizes = len(self.root_thumbprint), len(self.token_id), len(self.token_secret)
        if sizes != (_ROOT, _ID, _SECRET):
            raise ValueError(f"parts of {sizes} bytes, expected {(_ROOT, _ID, _SECRET)}")
        if not is_address(self.address):
            raise Refused(Code.JOIN_BAD, "the address is not host:port", field="address")

    @property
    def text(self) -> str:
        address = self.address.encode("ascii")
        head = bytes([VERSION]) + self.root_thumbprint + self.token_id + self.token_secret
        covered = head + bytes([len(address)]) + address
        return PREFIX + _letters(covered + _checksum(covered))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The code behind the text; Refused(JOIN_BAD) for any other spelling."""
        if not text.startswith(PREFIX) or len(text) > _TEXT_MAX:
            raise _mistyped(f"it begins with {PREFIX}")
        covered = _covered(text.removeprefix(PREFIX))
        if covered[0] != VERSION:
            raise Refused(
                Code.JOIN_BAD, f"version {covered[0]} of join codes; this release knows {VERSION}: upgrade it"
            )
        root, token_id, token_secret, address = _parts(covered)
        return cls(root, token_id, token_secret, address)


def _covered(letters: str) -> bytes:
    """What the checksum covers, once it holds and the letters are the one spelling of it."""
    if not _LETTERS.fullmatch(letters):
        raise _mistyped("letters a-z and digits 2-7 only, in one line")
    try:
        packed = base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
    except binascii.Error as error:
        raise _mistyped("a letter is missing or too many") from error
    covered, check = packed[:-_CHECK], packed[-_CHECK:]
    if len(covered) < _FIXED or _letters(packed) != letters or _checksum(covered) != check:
        raise _mistyped("its checksum does not fit")
    return covered


def _parts(covered: bytes) -> tuple[bytes, bytes, bytes, str]:
    address = covered[_FIXED:]
    if covered[_FIXED - 1] != len(address) or not address.isascii():
        raise _mistyped("its parts do not add up")
    token_at, secret_at = 1 + _ROOT, 1 + _ROOT + _ID
    return covered[1:token_at], covered[token_at:secret_at], covered[secret_at : _FIXED - 1], address.decode("ascii")


def _letters(packed: bytes) -> str:
    return base64.b32encode(packed).decode("ascii").rstrip("=").lower()


def _checksum(covered: bytes) -> bytes:
    return hashlib.sha256(b"manyarm/v1/join\0" + covered).digest()[:_CHECK]


def _mistyped(why: str) -> Refused:
    return Refused(Code.JOIN_BAD, f"the join code is mistyped: {why}")
