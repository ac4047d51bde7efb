"""Brings the artifacts that a run left to the gateway, sealed to the hub, before its result names them."""

import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

from spokes.agent.errors import GatewayUnreachable, MachineUnreachable
from spokes.agent.home import SHA256
from spokes.agent.job_folder import folder_of
from spokes.agent.results import artifacts_in
from spokes.agent.stopping import Stopping
from wire.chunks_artifact import seal_artifact
from wire.crash import crash_point
from wire.errors import Refused
from wire.keys import BoxPublicKey, new_id
from wire.messages import ArtifactRef

logger = logging.getLogger(__name__)

_FILE = re.compile(r"[0-9]{1,6}")
_NAME_MAX = 255
_LONGEST_PAUSE_S = 30.0


class ArtifactDoor(Protocol):
    def put_artifact(self, name: str, content: Iterable[bytes], capability: str) -> None: ...


class ArtifactCourier:
    """Used by all job threads.

    Args:
        door: Takes sealed artifacts.
        open_file: Opens a file by its path in the home, for reading.
        hub_box: The hub's box key of the moment.
        give_up_s: A gateway that is silent for so long does not hold back the result of a job any longer.
    """

    def __init__(
        self,
        door: ArtifactDoor,
        *,
        open_file: Callable[[str], BinaryIO],
        hub_box: Callable[[], BoxPublicKey],
        give_up_s: float,
    ) -> None:
        self._door = door
        self._open_file = open_file
        self._hub_box = hub_box
        self._give_up_s = give_up_s

    def bring(self, cid: str, capability: str, outcome: bytes, stopping: Stopping) -> tuple[ArtifactRef, ...]:
        """References to what the outcome lists; one that could not be brought has no id, so its loss is seen."""
        ends = time.monotonic() + self._give_up_s
        return tuple(
            self._bring_one(cid, capability, found, stopping, ends)
            for found in artifacts_in(outcome)
            if _is_artifact(found)
        )

    def _bring_one(
        self, cid: str, capability: str, found: dict[str, Any], stopping: Stopping, ends: float
    ) -> ArtifactRef:
        # The run names a file; only which one of its folder's numbered copies it is, is believed.
        path = f"{folder_of(cid)}/artifacts/{PurePosixPath(found['path']).name}"
        artifact, pause_s = new_id(), 0.5
        while not stopping.is_set():
            try:
                with self._open_file(path) as file:
                    self._door.put_artifact(artifact, seal_artifact(file, self._hub_box(), artifact), capability)
                crash_point("artifact.brought")
                return _ref(found, artifact)
            except (Refused, OSError) as error:
                logger.warning("artifact not taken", extra={"job": cid, "why": str(error)})
                break
            except (GatewayUnreachable, MachineUnreachable) as error:
                if time.monotonic() > ends:
                    logger.warning("artifact not brought", extra={"job": cid, "why": str(error)})
                    break
                stopping.wait(random.uniform(0.2, pause_s))  # noqa: S311  Jitter.
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
        return _ref(found, "")


def _is_artifact(found: dict[str, Any]) -> bool:
    path, name, size, sha256 = (found.get(part) for part in ("path", "name", "size", "sha256"))
    if not isinstance(path, str) or not isinstance(name, str) or not isinstance(sha256, str) or type(size) is not int:
        return False
    return bool(_FILE.fullmatch(PurePosixPath(path).name) and SHA256.fullmatch(sha256) and size >= 0)


def _ref(found: dict[str, Any], artifact: str) -> ArtifactRef:
    return ArtifactRef(str(found["name"])[:_NAME_MAX], int(found["size"]), str(found["sha256"]), artifact)
