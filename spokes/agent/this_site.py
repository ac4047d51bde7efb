"""The one site of a spoke that acts on the machine it stands on."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from config.settings import SpokeSettings
from spokes.agent.artifacts import ArtifactCourier
from spokes.agent.gateway import GatewayDoor
from spokes.agent.home import SpokeHome
from spokes.agent.package_cache import PackageCache
from spokes.agent.runners import Runners
from spokes.agent.sites import OneSite, Site
from spokes.agent.supervisors import Supervisors
from spokes.agent.this_machine import ThisMachine
from wire.keys import BoxPublicKey


@dataclass(frozen=True, slots=True)
class Ground:
    """What sites are made of: the spoke's home, its settings, its door for bulk, the hub's box key of the moment."""

    home: SpokeHome
    settings: SpokeSettings
    gateway: GatewayDoor
    hub_box: Callable[[], BoxPublicKey]


class ThisSite(OneSite):
    """Has a supervisor standing by, if the settings want one."""

    def __init__(self, ground: Ground) -> None:
        home, limits = ground.home, ground.settings.limits
        python = ground.settings.runner_python or sys.executable
        self._root = home.root
        self.supervisors = Supervisors(home, python, standby=ground.settings.standby)
        machine = ThisMachine(home, self.supervisors)
        packages = PackageCache(
            machine,
            ground.gateway,
            limits,
            free_bytes=lambda: shutil.disk_usage(home.root).free,
            index=home.root / "unpacked.json",
        )
        runners = Runners(machine, packages, record=home.root / "runners.json", python=python)

        def open_file(path: str) -> BinaryIO:
            return _open_inside(home.root, path)

        courier = ArtifactCourier(
            ground.gateway,
            open_file=open_file,
            hub_box=ground.hub_box,
            give_up_s=limits.transfer_s,
        )
        super().__init__(Site(machine, packages, runners, courier, open_file))

    def begin(self) -> None:
        newest = self.site.runners.newest()
        if newest:
            self.supervisors.prepare(self._root / "runners" / newest)

    def close(self) -> None:
        self.supervisors.close()


def _open_inside(home: Path, path: str) -> BinaryIO:
    """A plain file in the home; the last part is not followed if it is a link."""
    return os.fdopen(os.open(home / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
