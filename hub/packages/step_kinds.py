"""The step kinds that the newest runner announces, read from that very package: hub and runner cannot disagree."""

import io
import json
import zipfile
from collections.abc import Mapping

from hub.errors import Unavailable
from hub.packages.chunk_store import ChunkStore
from hub.packages.download import open_package
from hub.packages.runner_package import latest_runner
from hub.storage.database import connection
from hub.storage.vault import Vault
from runner.contract.step_kind import StepKind, read_step_kinds

DOCUMENT = "step_kinds.json"


class StepKinds:
    """Callable; reads a runner once and keeps what it said. Used by any number of threads."""

    def __init__(self, store: ChunkStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._known: tuple[str, Mapping[str, StepKind]] = ("", {})

    def __call__(self) -> Mapping[str, StepKind]:
        """Kinds by name.

        Raises:
            Unavailable: no runner has been published yet.
        """
        with connection():
            row = latest_runner()
            if row is None:
                raise Unavailable("the engine has not published its runner yet; try again in a moment")
            if self._known[0] != row.id:
                archive = io.BytesIO(b"".join(open_package(self._store, self._vault, row)))
                with zipfile.ZipFile(archive) as opened:
                    self._known = (row.id, read_step_kinds(json.loads(opened.read(DOCUMENT))))
        return self._known[1]
