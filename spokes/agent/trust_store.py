"""The trust documents on disk: written only after all of them were verified, verified again when they are read."""

from pathlib import Path

from spokes.agent.errors import HomeUnsafe, NotEnrolled
from spokes.agent.home import SpokeHome
from spokes.agent.private_files import read_private, write_private
from wire.documents import BoxDocument
from wire.errors import Refused
from wire.keys import BoxPublicKey
from wire.trust import TrustChain

_SUFFIX = ".mad1"
_BOX = "hub-box.mad1"


class TrustStore:
    def __init__(self, home: SpokeHome) -> None:
        self._folder = home.trust

    def load(self, root: bytes) -> TrustChain:
        """The chain as it was stored.

        Raises:
            NotEnrolled: There is none.
            HomeUnsafe: What is there does not verify.
        """
        paths = sorted(path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())
        if not paths:
            raise NotEnrolled("this spoke has no trust document; run: manyarm-spoke enrol JOIN-CODE --name NAME")
        try:
            return TrustChain.from_root(root, [read_private(path) for path in paths])
        except Refused as refusal:
            raise HomeUnsafe(f"the trust documents in {self._folder} do not verify: {refusal}") from refusal

    def save(self, chain: TrustChain) -> None:
        """Store the documents of a verified chain that are not there yet, oldest first."""
        for number, frame in enumerate(chain.frames):
            path = self._path(number)
            if not path.exists() or read_private(path) != frame:
                write_private(path, frame)

    def clear(self) -> None:
        for path in self._folder.glob(f"*{_SUFFIX}"):
            path.unlink()

    def load_box(self, chain: TrustChain, hub_id: str) -> BoxPublicKey:
        """The hub's box key as last seen; the signature is checked for the time at which it was made."""
        try:
            frame = read_private(self._folder / _BOX)
        except FileNotFoundError as error:
            raise NotEnrolled("this spoke does not have the hub's box key; enrol it") from error
        return open_box(frame, chain, hub_id).box

    def save_box(self, frame: bytes) -> None:
        path = self._folder / _BOX
        if not path.exists() or read_private(path) != frame:
            write_private(path, frame)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010d}{_SUFFIX}"


def open_box(frame: bytes, chain: TrustChain, hub_id: str) -> BoxDocument:
    """A verified box document; we have no time yet, so whether it is current shows at the welcome."""
    return BoxDocument.open(frame, chain.directory().timeless(), 0, hub_id)
