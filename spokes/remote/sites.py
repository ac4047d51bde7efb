"""One site a target: found by the command, its connection kept for the next one, let go when nobody comes."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spokes.agent.artifacts import ArtifactCourier
from spokes.agent.package_cache import PackageCache
from spokes.agent.private_files import make_private_folder
from spokes.agent.runners import Runners
from spokes.agent.sites import Site
from spokes.agent.this_site import Ground, ThisSite
from spokes.remote.connecting import Connection, Way
from spokes.remote.endpoint import ENDPOINT, SECRET_PREFIX, Endpoint, target_of
from spokes.remote.machine import INTERPRETER, RemoteMachine
from spokes.remote.packages import RemotePackages
from spokes.remote.shipped import ShippedPlaces
from wire.messages import Command

logger = logging.getLogger(__name__)

IDLE_S = 300.0
_LOOK_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class _Reached:
    endpoint: Endpoint
    machine: RemoteMachine
    site: Site


class RemoteSites:
    """Used by all threads.

    Args:
        ground: The ssh spoke's own: records of each target lie in its home.
        connect: Opens a connection to an endpoint.
    """

    keeps_commands = True

    def __init__(self, ground: Ground, connect: Callable[[Endpoint], Connection]) -> None:
        self._ground = ground
        self._connect = connect
        self._here = ThisSite(ground)
        self._lock = threading.Lock()
        self._reached: dict[str, _Reached] = {}
        # Of targets whose endpoint or account changed: until the last run that was begun that way is over.
        self._former: list[RemoteMachine] = []
        self._closed = threading.Event()

    @property
    def newest_release(self) -> int:
        with self._lock:
            return max((reached.site.runners.newest_release for reached in self._reached.values()), default=0)

    def place(self, command: Command) -> str:
        return target_of(command)

    def of(self, command: Callable[[], Command]) -> Site:
        return self._at(command()).site

    def bare(self, command: Command) -> Command:
        job = {name: value for name, value in command.job.items() if name != ENDPOINT}
        names = job.get("secret_names")
        if isinstance(names, list):
            job["secret_names"] = [name for name in names if not str(name).startswith(SECRET_PREFIX)]
        secrets = {name: value for name, value in command.secrets.items() if not name.startswith(SECRET_PREFIX)}
        return replace(command, job=job, secrets=secrets)

    def known(self) -> Sequence[Site]:
        with self._lock:
            return [reached.site for reached in self._reached.values()]

    def begin(self) -> None:
        threading.Thread(target=self._let_the_idle_go, name="idle", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        for machine in self._machines():
            machine.connecting.close()

    def _at(self, command: Command) -> _Reached:
        target, endpoint = target_of(command), Endpoint.of(command)
        with self._lock:
            reached = self._reached.get(target)
            if reached is not None and reached.endpoint == endpoint:
                return reached
            if reached is not None:
                self._former.append(reached.machine)
            self._reached[target] = self._made(target, endpoint)
            return self._reached[target]

    def _made(self, target: str, endpoint: Endpoint) -> _Reached:
        ground, folder = self._ground, self._folder(target)
        limits = ground.settings.limits
        site: Site | None = None

        def runners() -> Runners:
            assert site is not None
            return site.runners

        machine = RemoteMachine(
            Way(lambda: self._connect(endpoint), endpoint.home, endpoint.python),
            ShippedPlaces(ground.home.root),
            standby=ground.settings.standby,
            tree_of=lambda sha256: runners().tree(sha256),
            altered=lambda sha256: runners().distrust(sha256),
        )
        packages: PackageCache = RemotePackages(
            machine, ground.gateway, limits, index=folder / "unpacked.json", here=self._here.site.packages
        )
        site = Site(
            machine,
            packages,
            Runners(machine, packages, record=folder / "runners.json", python=INTERPRETER),
            ArtifactCourier(
                ground.gateway, open_file=machine.open_file, hub_box=ground.hub_box, give_up_s=limits.transfer_s
            ),
            machine.open_file,
            far=True,
        )
        return _Reached(endpoint, machine, site)

    def _folder(self, target: str) -> Path:
        folder = self._ground.home.root / "targets" / target
        make_private_folder(folder)
        return folder

    def _machines(self) -> list[RemoteMachine]:
        with self._lock:
            return [*self._former, *(reached.machine for reached in self._reached.values())]

    def _let_the_idle_go(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_S):
            resting = [machine for machine in self._machines() if machine.connecting.rest(IDLE_S)]
            with self._lock:
                self._former = [machine for machine in self._former if machine not in resting]
