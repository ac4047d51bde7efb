"""Seals every row anew under the newest rows key, a few at a time.

What is left to do is what still carries the old seal, so it goes on after a kill where it stopped; a row is sealed anew
only if its old seal holds, so nobody's forgery is made good.
"""

import logging
from typing import Any

from hub.events.record import SYSTEM, record
from hub.storage.database import write_tx
from hub.storage.models import ALL_TABLES
from hub.storage.models.table import SealedTable
from hub.storage.seals import RowSeals

logger = logging.getLogger(__name__)

# Each sealed row stands in its transaction's event row, which holds 16 KiB.
BATCH = 50
_ALTERED_MAX = 1000


class Resealing:
    """Used by one thread."""

    def __init__(self, seals: RowSeals) -> None:
        self._seals = seals
        self._altered: set[tuple[str, str]] = set()

    def step(self, kids: list[str]) -> int:
        """Seal one batch anew of what these old keys sealed; how many rows that were."""
        for model in ALL_TABLES:
            if issubclass(model, SealedTable):
                done = self._batch(model, kids)
                if done:
                    return done
        return 0

    def left(self, kids: list[str]) -> int:
        """How many rows carry a seal of these keys that still holds."""
        return sum(
            sum(1 for row in _sealed_by(model, kids) if self._seals.holds(row))
            for model in ALL_TABLES
            if issubclass(model, SealedTable)
        )

    def _batch(self, model: type[SealedTable], kids: list[str]) -> int:
        with write_tx():
            rows = [row for row in _sealed_by(model, kids).limit(BATCH + len(self._altered)) if self._is_sound(row)]
            for row in rows[:BATCH]:
                # The cell is changed alone: what else the row says is nobody's business here.
                before = row.seal
                self._seals.seal(row)
                model.update(seal=row.seal).where(row._pk_expr(), model.seal == before).execute()  # noqa: SLF001  peewee.
            if rows:
                record("row.resealed", model.table_name(), actor=SYSTEM, detail={"rows": len(rows[:BATCH])})
            return len(rows[:BATCH])

    def _is_sound(self, row: SealedTable) -> bool:
        name = (row.table_name(), row.sealed_id())
        if name in self._altered:
            return False
        if self._seals.holds(row):
            return True
        if len(self._altered) < _ALTERED_MAX:
            self._altered.add(name)
        logger.error("row was altered; it is not sealed anew", extra={"row": " ".join(name)})
        return False


def _sealed_by(model: type[SealedTable], kids: list[str]) -> Any:
    conditions = [model.seal.startswith(f"{kid}:") for kid in kids]
    found = conditions[0]
    for condition in conditions[1:]:
        found |= condition
    return model.select().where(found)
