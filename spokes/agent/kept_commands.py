"""Opens again the commands that the journal keeps, sealed as they came."""

from collections.abc import Sequence

from spokes.agent.journal import Journal
from spokes.agent.uplink import Uplink
from wire.envelope import verify
from wire.errors import Code, Refused
from wire.exchange import open_body
from wire.keys import BoxKey
from wire.messages import Command


class KeptCommands:
    """Used by all threads."""

    def __init__(self, journal: Journal, uplink: Uplink) -> None:
        self._journal = journal
        self._uplink = uplink

    def of(self, cid: str) -> Command:
        """The command of a job that is not reported yet, whose key was good when it was accepted.

        Raises:
            Refused: ENV_KEY for a key that the hub has revoked since, ENV_SEAL for one of ours that is gone.
        """
        frame = self._journal.frame(cid)
        if frame is None:
            raise Refused(Code.ENV_SEAL, "the journal does not keep this command any more")
        return self._opened(frame, at=None)

    def waiting(self, cid: str) -> Command | None:
        """The command of a job that was accepted and not started, None if there is none; its key must be good now.

        Raises:
            Refused: As above, or ENV_KEY for a key whose time is over.
        """
        frame = self._journal.frame(cid)
        return None if frame is None else self._opened(frame, at=self._uplink.now())

    def need(self, box: BoxKey) -> bool:
        """Whether a command that is kept was sealed to this key of ours, so that the key must be kept too."""
        return any(_fits(frame, self._uplink, box) for frame in self._journal.frames())

    def _opened(self, frame: bytes, at: int | None) -> Command:
        body = _open(frame, self._uplink, self._uplink.boxes, at)
        if not isinstance(body, Command):
            raise Refused(Code.ENV_TYPE, "what the journal keeps is no command")
        return body


def _open(frame: bytes, uplink: Uplink, boxes: Sequence[BoxKey], at: int | None) -> object:
    directory = uplink.trust.directory()
    verified = verify(frame, directory.timeless(), 0) if at is None else verify(frame, directory, at)
    return open_body(verified, boxes).body


def _fits(frame: bytes, uplink: Uplink, box: BoxKey) -> bool:
    try:
        _open(frame, uplink, [box], None)
    except Refused as refusal:
        return refusal.code is not Code.ENV_SEAL
    return True
