"""Checkpoints of this hub's audit log (wire/checkpoint.py): when one is signed, and which is the newest."""

from collections.abc import Iterable

from hub.errors import AuditBroken
from hub.storage.database import write_tx
from hub.storage.models import ChainHead, Checkpoint
from hub.storage.prepared import Prepared
from wire.checkpoint import ChainPoint, sign_checkpoint
from wire.checkpoint import open_checkpoint as opened
from wire.errors import Refused
from wire.keys import SigningKey, VerifyKey

__all__ = [
    "EVERY_MS",
    "EVERY_ROWS",
    "ChainPoint",
    "checkpoint_if_due",
    "checkpoint_now",
    "newest_checkpoint",
    "open_checkpoint",
    "sign_checkpoint",
]

EVERY_ROWS = 100
EVERY_MS = 60_000

_NEWEST = Prepared(lambda: Checkpoint.select(Checkpoint.text).order_by(Checkpoint.seq.desc()).limit(1))


def open_checkpoint(note: str, hub_id: str, keys: Iterable[VerifyKey]) -> ChainPoint:
    """What the note says, if one of the keys signed it.

    Raises:
        AuditBroken: AUDIT_SIG: it is malformed, another hub's, or signed by none of them.
    """
    try:
        return opened(note, hub_id, keys)
    except Refused as refusal:
        raise AuditBroken(refusal.detail, code=str(refusal.code)) from refusal


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
