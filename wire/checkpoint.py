"""Checkpoints: the head of the hub's audit chain, signed, in the form of C2SP signed notes. PURE.

    <hub id>/audit
    <seq, decimal>
    <hash, base64>
    <epoch, decimal>

    — <hub id>/audit <base64 of key id and signature>

Only the syntax is of C2SP: the chain is linear, no Merkle tree stands behind it. Whoever keeps the newest one that
he was shown is a witness: what a hub has said of its log it cannot take back.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from wire.errors import Code, Refused
from wire.keys import SigningKey, VerifyKey

_ED25519 = b"\x01"
_NOTE_MAX = 1024
_TEXT = re.compile(r"([0-9a-f]{32}/audit)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n([1-9][0-9]{0,9})\n")
_SIGNATURE = re.compile(r"— (\S{1,100}) ([A-Za-z0-9+/]{91}=)\n")


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """What a checkpoint says: the hub had written `seq` events, and this was the hash of the last."""

    hub_id: str
    seq: int
    hash: bytes
    epoch: int

    @property
    def text(self) -> str:
        return f"{self.hub_id}/audit\n{self.seq}\n{base64.b64encode(self.hash).decode('ascii')}\n{self.epoch}\n"


def sign_checkpoint(point: ChainPoint, signer: SigningKey) -> str:
    """The signed note."""
    name = f"{point.hub_id}/audit"
    content = _key_id(name, signer.verify_key) + signer.sign(point.text.encode())
    return f"{point.text}\n— {name} {base64.b64encode(content).decode('ascii')}\n"


def open_checkpoint(note: str, hub_id: str, keys: Iterable[VerifyKey]) -> ChainPoint:
    """What the note says, if one of the keys signed it.

    Raises:
        Refused: AUDIT_SIG: it is malformed, another hub's, or signed by none of them.
    """
    text, separator, signatures = note.partition("\n\n")
    found = _TEXT.fullmatch(text + "\n")
    if len(note) > _NOTE_MAX or not separator or found is None:
        raise Refused(Code.AUDIT_SIG, "the checkpoint is no signed note of ours")
    point = ChainPoint(found[1].removesuffix("/audit"), int(found[2]), _decoded(found[3]), int(found[4]))
    if point.hub_id != hub_id or point.text != text + "\n":
        raise Refused(Code.AUDIT_SIG, "the checkpoint is another hub's")
    if not any(_is_signed(point, signatures, key) for key in keys):
        raise Refused(Code.AUDIT_SIG, f"the checkpoint at {point.seq} carries no signature of hub-audit")
    return point


def check_forward(held: ChainPoint | None, shown: ChainPoint) -> None:
    """A witness's rule: in one epoch a log grows, and keeps what it had.

    Raises:
        Refused: AUDIT_ROLLBACK: it is shorter than it was, or another one; or its epoch is over.
    """
    if held is None or shown.epoch > held.epoch:
        return
    if shown.epoch < held.epoch:
        raise Refused(Code.AUDIT_ROLLBACK, f"epoch {shown.epoch}, known is {held.epoch}")
    if shown.seq < held.seq:
        raise Refused(Code.AUDIT_ROLLBACK, f"the audit log has {shown.seq} events, it had {held.seq}")
    if shown.seq == held.seq and shown.hash != held.hash:
        raise Refused(Code.AUDIT_ROLLBACK, f"event {shown.seq} of the audit log is not the one that it was")


def _is_signed(point: ChainPoint, signatures: str, key: VerifyKey) -> bool:
    name = f"{point.hub_id}/audit"
    for signer, text in _SIGNATURE.findall(signatures):
        content = _decoded(text)
        if signer != name or content[:4] != _key_id(name, key):
            continue
        try:
            key.verify(point.text.encode(), content[4:])
        except Refused:
            continue
        return True
    return False


def _key_id(name: str, key: VerifyKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + key.pk).digest()[:4]


def _decoded(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return content if base64.b64encode(content).decode("ascii") == text else b""
