"""How far the hub's confirmations go for runs that are elsewhere; kept beside the hub, where alone it is asked."""

from pathlib import Path

from spokes.agent.job_folder import SHIPPED, folder_of
from spokes.agent.private_files import make_private_folder, write_private
from spokes.agent.spool import Position


class ShippedPlaces:
    """In the ssh spoke's own home; what is lost is sent again as the same ranges."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def load(self, cid: str) -> Position:
        try:
            return Position.from_json(self._file(cid).read_bytes())
        except OSError:
            return Position()

    def save(self, cid: str, position: Position) -> None:
        path = self._file(cid)
        make_private_folder(path.parent)
        write_private(path, position.to_json(), durable=False)

    def forget(self, cid: str) -> None:
        path = self._file(cid)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            path.parent.rmdir()

    def _file(self, cid: str) -> Path:
        return self._home / folder_of(cid) / SHIPPED
