"""Checkpoints: the head of the audit chain, signed, in the form of C2SP signed notes.

    <hub id>/audit
    <seq, decimal>
    <hash, base64>
    <epoch, decimal>

    — <hub id>/audit <base64 of key id and signature>

Only the note's syntax is C2SP's: the chain is linear, no Merkle tree stands behind it.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from hub.errors import AuditBroken
from hub.storage.database import write_tx
from hub.storage.models import ChainHead, Checkpoint
from hub.storage.prepared import Prepared
from wire.errors import Refused
from wire.keys import SigningKey, VerifyKey

EVERY_ROWS = 100
EVERY_MS = 60_000

_ED25519 = b"\x01"
_NOTE_MAX = 1024
_NEWEST = Prepared(lambda: Checkpoint.select(Checkpoint.text).order_by(Checkpoint.seq.desc()).limit(1))
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
        AuditBroken: AUDIT_SIG: it is malformed, another hub's, or signed by none of them.
    """
    text, separator, signatures = note.partition("\n\n")
    found = _TEXT.fullmatch(text + "\n")
    if len(note) > _NOTE_MAX or not separator or found is None:
        raise AuditBroken("the checkpoint is no signed note of ours", code="AUDIT_SIG")
    point = ChainPoint(found[1].removesuffix("/audit"), int(found[2]), _decoded(found[3]), int(found[4]))
    if point.hub_id != hub_id or point.text != text + "\n":
        raise AuditBroken("the checkpoint is another hub's", code="AUDIT_SIG")
    if not any(_is_signed(point, signatures, key) for key in keys):
        raise AuditBroken(f"the checkpoint at {point.seq} carries no signature of hub-audit", code="AUDIT_SIG")
    return point


def checkpoint_if_due(hub_id: str, epoch: int, signer: SigningKey, now_ms: int) -> str | None:
    """Sign the head of the chain after 100 new events, or 60 seconds after the last checkpoint if there is any new one.

    Returns:
        The note that was stored; None: nothing is due.
    """
    head = ChainHead.select().where(ChainHead.id == 1).first()
    last = Checkpoint.select(Checkpoint.seq, Checkpoint.at).order_by(Checkpoint.seq.desc()).first()
    if head is None or (last is not None and not _is_due(head.seq - last.seq, now_ms - last.at)):
        return None
    return _store(head, hub_id, epoch, signer, now_ms)


def checkpoint_now(hub_id: str, epoch: int, signer: SigningKey, now_ms: int) -> str:
    """Sign the head of the chain whether or not that is due: a new epoch begins with one of its own."""
    head = ChainHead.get_by_id(1)
    Checkpoint.delete().where(Checkpoint.seq == head.seq).execute()
    return _store(head, hub_id, epoch, signer, now_ms)


def newest_checkpoint() -> str:
    """The note that `welcome` carries; empty before the first."""
    row = _NEWEST.first()
    return str(row[0]) if row is not None else ""


def _store(head: ChainHead, hub_id: str, epoch: int, signer: SigningKey, now_ms: int) -> str:
    note = sign_checkpoint(ChainPoint(hub_id, head.seq, bytes(head.hash), epoch), signer)
    with write_tx():
        Checkpoint.insert(seq=head.seq, text=note, at=now_ms).on_conflict_ignore().execute()
    return note


def _is_due(rows: int, age_ms: int) -> bool:
    # A clock that was set back must not stop checkpoints.
    return rows >= EVERY_ROWS or (rows > 0 and not 0 <= age_ms < EVERY_MS)


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
