"""Where jobs run: a machine, what is kept of packages and runners there, and which of several a command is for.

A polling spoke has one site, the machine that it stands on. A spoke that reaches its machines has one a target, and
finds it again after a restart by opening the command once more, which the journal keeps for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from spokes.agent.artifacts import ArtifactCourier
from spokes.agent.machine import Machine
from spokes.agent.package_cache import PackageCache
from spokes.agent.runners import Runners
from wire.messages import Command


@dataclass(frozen=True, slots=True)
class Site:
    """One machine. `open_file` opens a file by its path in the home, for reading.

    `far`: what is asked of it may take long or fail for a while, so no thread that others wait for asks it.
    """

    machine: Machine
    packages: PackageCache
    runners: Runners
    artifacts: ArtifactCourier
    open_file: Callable[[str], BinaryIO]
    far: bool = False


class Sites(Protocol):
    @property
    def keeps_commands(self) -> bool:
        """Whether a site is found again only by its command, which the journal then keeps until the job is reported."""
        ...

    @property
    def newest_release(self) -> int:
        """The newest runner release that is installed anywhere, 0 for none."""
        ...

    def place(self, command: Command) -> str:
        """Names the machine; the jobs of one place share a limit."""
        ...

    def of(self, command: Callable[[], Command]) -> Site:
        """Where a command is carried out; nothing is asked of the machine yet.

        Args:
            command: Opens it, if it is needed to know.

        Raises:
            Refused: It names no machine that could be meant, or cannot be opened.
        """
        ...

    def bare(self, command: Command) -> Command:
        """What of the command the machine itself may see: not how to get there."""
        ...

    def known(self) -> Sequence[Site]:
        """The sites that this daemon has to do with now."""
        ...

    def begin(self) -> None:
        """Have at hand what makes the first job quick."""
        ...

    def close(self) -> None:
        """Leave; runs go on."""
        ...


class OneSite:
    """For a spoke that acts on one machine."""

    keeps_commands = False

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def newest_release(self) -> int:
        return self.site.runners.newest_release

    def place(self, _: Command) -> str:
        return ""

    def of(self, _: Callable[[], Command]) -> Site:
        return self.site

    def bare(self, command: Command) -> Command:
        return command

    def known(self) -> Sequence[Site]:
        return (self.site,)

    def begin(self) -> None:
        """Nothing to have at hand."""

    def close(self) -> None:
        """Nothing to leave."""
