"""Tells spokes, beside all tasks, what the hub wants of them themselves: fetch the newest trust document, rotate a key.

An order is a row of the outbox without a job: sealed, sent, repeated and acknowledged as commands are. Only spokes that
are there now are told; the others hear at their next welcome.
"""

from typing import Any

from hub.states import OutboxKind, OutboxState, SpokeState
from hub.storage.models import Outbox, Spoke, SpokeSession, new_row_id
from wire.messages import Op

ORDER_LIFE_MS = 15 * 60 * 1000
_KEPT_MS = 24 * 3600 * 1000


def tell_spokes(now_ms: int) -> int:
    """Ask all spokes with a live session to fetch the newest trust document; inside `write_tx`. How many there are."""
    live = (
        Spoke.select(Spoke.id)
        .join(SpokeSession, on=(SpokeSession.spoke == Spoke.id))
        .where(Spoke.state == SpokeState.TRUSTED, SpokeSession.live, SpokeSession.valid_until.is_null())
        .distinct()
    )
    waiting = Outbox.select(Outbox.spoke).where(
        Outbox.kind == OutboxKind.ORDER, Outbox.state == OutboxState.WAITING, Outbox.body == _body(Op.UPDATE_TRUST)
    )
    rows: Any = live.where(Spoke.id.not_in(waiting)).tuples()
    asked = [_row(spoke, Op.UPDATE_TRUST, now_ms) for (spoke,) in rows]
    for start in range(0, len(asked), 100):
        Outbox.insert_many(asked[start : start + 100]).execute()
    return len(asked)


def order(spoke: str, op: Op, now_ms: int) -> str:
    """Ask one spoke for one thing; inside `write_tx`. The order's id."""
    row = _row(spoke, op, now_ms)
    Outbox.insert(row).execute()
    return str(row["cid"])


def forget_orders(now_ms: int) -> None:
    """Orders that are done, or that nobody took; inside `write_tx`."""
    done = (Outbox.state == OutboxState.DONE) & (Outbox.created_at < now_ms - _KEPT_MS)
    missed = (Outbox.state != OutboxState.DONE) & (Outbox.expires_at < now_ms)
    Outbox.delete().where(Outbox.kind == OutboxKind.ORDER, done | missed).execute()


def _row(spoke: str, op: Op, now_ms: int) -> dict[str, object]:
    return {
        "kind": OutboxKind.ORDER,
        "spoke": spoke,
        "cid": new_row_id(),
        "body": _body(op),
        "created_at": now_ms,
        "expires_at": now_ms + ORDER_LIFE_MS,
    }


def _body(op: Op) -> bytes:
    return str(op).encode("ascii")
