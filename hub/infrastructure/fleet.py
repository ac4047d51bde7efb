"""The fleet: the signed document by which relays know whom to dial, and who may carry for whom.

Made anew when somebody is approved, revoked, introduced or moved, and long before it ends; the engine alone makes it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peewee import fn

from hub.infrastructure.spokes import thumbprint_of
from hub.states import SpokeKind, SpokeState
from hub.storage.database import connection, write_tx
from hub.storage.models import FleetFrame, Introduction, Spoke
from hub.storage.seals import RowSeals
from wire.documents import FleetDocument, FleetSpoke
from wire.keys import SigningKey, thumbprint
from wire.topology import DEFAULT_FLEET

VALID_S = 3600
_RENEW_BEFORE_MS = VALID_S * 500
_Mark = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FleetParts:
    """What is needed of the engine; `command_key` signs, `gateway` is host:port as relays reach it."""

    seals: RowSeals
    command_key: Callable[[], SigningKey]
    hub_id: str
    gateway: str
    clock_ms: Callable[[], int]


class Fleet:
    """One thread calls `sweep`."""

    def __init__(self, parts: FleetParts, name: str = DEFAULT_FLEET) -> None:
        self._parts = parts
        self._name = name
        self._mark: _Mark | None = None

    def sweep(self) -> bool:
        """Whether a new document was made; a look that finds nothing new reads a few numbers."""
        with connection():
            key = self._parts.command_key()
            mark = (key.kid, *_mark(self._name))
            held: FleetFrame | None = FleetFrame.get_or_none(FleetFrame.fleet == self._name)
            now_ms = self._parts.clock_ms()
            if held is not None and mark == self._mark and now_ms - held.issued_at < _RENEW_BEFORE_MS:
                return False
            document = self._document(now_ms // 1000)
            frame = document.sign(key)
            with write_tx():
                FleetFrame.delete().where(FleetFrame.fleet == self._name).execute()
                FleetFrame.create(
                    fleet=self._name, frame=frame, sha256=hashlib.sha256(frame).hexdigest(), issued_at=now_ms
                )
            self._mark = mark
            return True

    def _document(self, now_s: int) -> FleetDocument:
        found = [*self._trusted(), *self._introduced()]
        parts = self._parts
        return FleetDocument(parts.hub_id, self._name, now_s, now_s + VALID_S, parts.gateway, tuple(found))

    def _trusted(self) -> list[FleetSpoke]:
        rows = _listening(Spoke.select(), self._name).order_by(Spoke.id)
        return [
            FleetSpoke(row.id, row.address, thumbprint_of(row), row.tls_spki)
            for row in rows
            if self._parts.seals.holds(row)
        ]

    def _introduced(self) -> list[FleetSpoke]:
        rows = _expected(Introduction.select(), self._name).order_by(Introduction.id)
        return [FleetSpoke(row.id, row.address, row.thumbprint, "") for row in rows if self._parts.seals.holds(row)]


class Carriers:
    """Which relay may carry for which spoke, from sealed rows; every look-up reads them."""

    def __init__(self, seals: RowSeals) -> None:
        self._seals = seals

    def carries(self, relay_id: str, spoke_id: str) -> bool:
        """Whether that is a trusted relay, and that a spoke of its fleet (or one who is expected there)."""
        with connection():
            fleet = self.fleet_of_relay(relay_id)
            if not fleet:
                return False
            spoke: Spoke | None = Spoke.get_or_none(Spoke.id == spoke_id)
            if spoke is not None:
                listens = spoke.kind == SpokeKind.LISTENING and spoke.state == SpokeState.TRUSTED
                return listens and spoke.fleet == fleet and self._seals.holds(spoke)
            return self.expects(relay_id, spoke_id)

    def expects(self, relay_id: str, spoke_id: str) -> bool:
        """Whether a spoke of that relay's fleet was introduced under this id, and has not enrolled or just has."""
        return self._expected(relay_id, spoke_id) is not None

    def expects_frame(self, relay_id: str, spoke_id: str, signer_pk: bytes, frame_sha256: str) -> bool:
        """Whether one who is expected there would say this: in the introduced key's name, or in the words that let it
        in. Each enrolment costs rows and a line of the audit log, and a relay can make as many keys as it likes.
        """
        found = self._expected(relay_id, spoke_id)
        if isinstance(found, Introduction):
            return bool(found.thumbprint == thumbprint(signer_pk))
        return found is not None and found.enrol_sha256 == frame_sha256

    def _expected(self, relay_id: str, spoke_id: str) -> Introduction | Spoke | None:
        with connection():
            fleet = self.fleet_of_relay(relay_id)
            found: Any = Introduction.get_or_none(Introduction.id == spoke_id) or Spoke.get_or_none(
                (Spoke.id == spoke_id) & (Spoke.kind == SpokeKind.LISTENING) & Spoke.join_token.is_null()
            )
            known = bool(fleet) and found is not None and found.fleet == fleet and self._seals.holds(found)
            return found if known else None

    def fleet_of_relay(self, relay_id: str) -> str:
        """The fleet of a trusted relay; "" for anybody else."""
        row: Spoke | None = Spoke.get_or_none(
            (Spoke.id == relay_id) & (Spoke.kind == SpokeKind.RELAY) & (Spoke.state == SpokeState.TRUSTED)
        )
        return str(row.fleet) if row is not None and self._seals.holds(row) else ""


def _mark(fleet: str) -> _Mark:
    """Changes whenever one of the fleet comes, goes or moves: each change of a spoke's row raises its version."""
    counted = _listening(Spoke.select(fn.COUNT(Spoke.id), fn.SUM(Spoke.version), fn.MAX(Spoke.approved_at)), fleet)
    expected = _expected(Introduction.select(fn.COUNT(Introduction.id), fn.MAX(Introduction.created_at)), fleet)
    return (*counted.tuples().first(), *expected.tuples().first())


def _listening(query: Any, fleet: str) -> Any:
    return query.where(Spoke.kind == SpokeKind.LISTENING, Spoke.state == SpokeState.TRUSTED, Spoke.fleet == fleet)


def _expected(query: Any, fleet: str) -> Any:
    return query.where(Introduction.target.is_null(False), Introduction.fleet == fleet)
