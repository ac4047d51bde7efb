"""A spoke that `manyarm up` keeps beside the hub: it joins by itself, with the code that the engine leaves for it.

Whoever can read the file may join as this spoke, so it lies in the hub's own home, for one use and a short time.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from config.settings import SpokeSettings
from spokes.agent.enrolment import Enroller, Wish
from spokes.agent.errors import GatewayUnreachable, JoinRefused, NotApproved, NotEnrolled
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.private_files import read_private
from wire.join_code import JoinCode

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_APPROVED_WITHIN_S = 60.0
_TRY_AGAIN_S = 2.0


class JoinCodeFile:
    """Where the engine leaves the code; `hold` reads it ahead, for a process that soon may not."""

    def __init__(self, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path = path
        self._sleep = sleep
        self._held = ""

    @classmethod
    def at(cls, path: str) -> Self:
        return cls(Path(path))

    def hold(self) -> None:
        self._held = self.wait()

    def wait(self, but: str = "") -> str:
        """The code, as soon as there is one other than `but`.

        Raises:
            JoinRefused: It was read ahead, and it is the one that is of no use.
        """
        if self._held:
            if self._held == but:
                raise JoinRefused("the hub does not take its own join code; started again, this spoke reads the next")
            return self._held
        while not (text := self._read()) or text == but:
            self._sleep(_LOOK_EVERY_S)
        return text

    def remove(self) -> None:
        """It is used; where we may not, the engine does it."""
        with contextlib.suppress(PermissionError):
            self._path.unlink(missing_ok=True)

    def _read(self) -> str:
        try:
            return read_private(self._path).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""


def join(
    settings: SpokeSettings, wish: Wish, codes: JoinCodeFile, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Enrol this home unless it is enrolled; waits as long as it takes for the hub, and for a code that it takes."""
    home = SpokeHome(settings.home)
    home.make()
    spent = ""
    while not is_enrolled(home):
        code = codes.wait(but=spent)
        try:
            _enrol(settings, home, wish, code)
        except JoinRefused as error:
            # The engine leaves another one once this is of no use.
            logger.warning("the join code was refused; waiting for another", extra={"why": str(error)})
            spent = code
        except (GatewayUnreachable, NotApproved) as error:
            logger.warning("not enrolled yet", extra={"why": str(error)})
            sleep(_TRY_AGAIN_S)
    codes.remove()


def is_enrolled(home: SpokeHome) -> bool:
    try:
        IdentityStore(home).enrolment()
    except NotEnrolled:
        return False
    return True


def is_enrolled_at_sight(home: Path) -> bool:
    """Without reading anything of it."""
    return os.path.lexists(SpokeHome(home).identity / "spoke.json")


def _enrol(settings: SpokeSettings, home: SpokeHome, wish: Wish, text: str) -> None:
    code = JoinCode.parse(text)
    gateway = Gateway(code.address, timeout_s=settings.limits.gateway_timeout_s)
    lock = home.hold()
    try:
        made = Enroller(home, gateway, say=logger.info).enrol(
            code, wish, gateway=code.address, wait_s=_APPROVED_WITHIN_S
        )
    finally:
        lock.release()
    logger.info("joined", extra={"spoke": made.spoke_id, "spoke_name": made.name})
