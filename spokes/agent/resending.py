"""Sends part of a log once more, at the hub's word: whole records as they stand in the spool that the run left here.

What the broker confirmed and lost, only this can mend. The spool is kept for some days; then there is nothing to send.
"""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from config.limits import SpokeLimits
from spokes.agent.errors import MachineUnreachable, SpoolDamaged
from spokes.agent.home import ID
from spokes.agent.job_folder import SPOOL, folder_of
from spokes.agent.results import plain_result
from spokes.agent.sites import Sites
from spokes.agent.spool import Position, each_record
from spokes.agent.uplink import Uplink
from wire.errors import Code, Refused, WireError
from wire.log_body import RECORDS_MAX, pack_records
from wire.messages import Command, EndState, Log, Result

logger = logging.getLogger(__name__)

SPANS_MAX = 1_000
_CONFIRM_S = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records of which run, in order and apart from one another."""

    cid: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, job: dict[str, Any]) -> "Wanted":
        """Refused(ENV_SCHEMA) for what names no records of a run."""
        cid, spans = job.get("cid"), job.get("spans")
        if not isinstance(cid, str) or not ID.fullmatch(cid):
            raise Refused(Code.ENV_SCHEMA, "the command does not say of which run", field="job.cid")
        if not isinstance(spans, list) or not 0 < len(spans) <= SPANS_MAX or not all(map(_is_span, spans)):
            raise Refused(Code.ENV_SCHEMA, "the command does not say which records", field="job.spans")
        return cls(cid, tuple(sorted((first, last) for first, last in spans)))

    @property
    def last(self) -> int:
        return max(last for _, last in self.spans)


@dataclass(slots=True)
class _Piece:
    """Records that follow one another, for one frame."""

    start: Position
    after: Position
    records: list[bytes] = field(default_factory=list)
    size: int = 0


class LogResender:
    """Carries out `send_log`; any number of them at once."""

    def __init__(self, uplink: Uplink, sites: Sites, limits: SpokeLimits) -> None:
        self._uplink = uplink
        self._sites = sites
        self._limits = limits

    def __call__(self, command: Command) -> Result:
        """Succeeded: the broker has it. Failed: another time perhaps. Refused: it is not to be had any more."""
        wanted = Wanted.of(command.job)
        try:
            site = self._sites.of(lambda: command)
            with site.open_file(f"{folder_of(wanted.cid)}/{SPOOL}") as spool:
                sent, ended_at = self._send(wanted, each_record(spool))
        except (MachineUnreachable, WireError, TimeoutError) as error:
            return plain_result(EndState.FAILED, f"the log could not be sent again: {error}")
        except OSError as error:
            logger.info("no spool to send from", extra={"job": wanted.cid, "why": str(error)})
            return plain_result(EndState.REFUSED, "the spool of that run is not kept any more")
        except SpoolDamaged as error:
            return plain_result(EndState.REFUSED, f"the spool is damaged: {error}")
        if ended_at <= wanted.last:
            return plain_result(EndState.REFUSED, f"the spool ends before record {ended_at}")
        logger.info("log sent again", extra={"job": wanted.cid, "records": sent})
        return plain_result(EndState.SUCCEEDED, f"{sent} records were sent again")

    def _send(self, wanted: Wanted, spool: Iterator[tuple[Position, Position, bytes]]) -> tuple[int, int]:
        """How many records were sent and confirmed, and how many the spool was seen to have."""
        window: deque[Future[None]] = deque()
        sent = seen = 0
        for piece, count in _pieces(wanted.spans, spool, min(self._limits.log_frame_bytes, RECORDS_MAX)):
            seen = count
            if piece is not None:
                window.append(self._ship(wanted.cid, piece))
                sent += len(piece.records)
            while len(window) >= self._limits.log_window:
                window.popleft().result(_CONFIRM_S)
        while window:
            window.popleft().result(_CONFIRM_S)
        return sent, seen

    def _ship(self, cid: str, piece: _Piece) -> "Future[None]":
        count = piece.after.records - piece.start.records
        body = Log(pack_records(b"".join(piece.records)))
        return self._uplink.send(body, cid=cid, idx=piece.start.records, cnt=count, prev=piece.start.chain.hex())


def _pieces(
    spans: Sequence[tuple[int, int]], spool: Iterator[tuple[Position, Position, bytes]], most_bytes: int
) -> Iterator[tuple[_Piece | None, int]]:
    """What is to be sent, a frame at a time, each with how many records have been seen."""
    piece: _Piece | None = None
    left, seen = deque(spans), 0
    for before, after, record in spool:
        seen = after.records
        while left and left[0][1] < before.records:
            left.popleft()
        is_wanted = bool(left) and left[0][0] <= before.records
        if piece is not None and (not is_wanted or piece.size + len(record) > most_bytes):
            yield piece, seen
            piece = None
        if not left:
            return
        if not is_wanted:
            continue
        if piece is None:
            piece = _Piece(before, after)
        piece.records.append(record)
        piece.size += len(record)
        piece.after = after
    yield piece, seen


def _is_span(span: Any) -> bool:
    is_pair = isinstance(span, list) and len(span) == 2 and all(type(one) is int for one in span)
    return is_pair and 0 <= span[0] <= span[1]
