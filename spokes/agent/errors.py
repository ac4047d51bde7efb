"""What can go wrong at a spoke beside what the wire refuses.

SpokeError                 has the exit status of the command that it ends
├── NotEnrolled            run `enrol` first
├── AlreadyEnrolled        this home belongs to a spoke already
├── HomeInUse              another daemon serves this home
├── HomeUnsafe             a key file that others could read or replace
├── NoSuchUser             the OS user that it should run as is not there
├── PythonUnfit            no Python that could run jobs
├── RootDiffers            whoever answered is not the hub of the join code
├── JoinRefused            the hub said no
├── NotApproved            nobody approved in the time given
├── GatewayUnreachable     no answer from the gateway, or not one that we can use
├── CannotListen           the address on which relays should find us cannot be had
├── JournalFailed          the journal could not be written: nothing is acknowledged
├── CannotStart            a job's supervisor could not be started
├── MachineUnreachable     the machine that a job is for does not answer, or not as it must
│   ├── LoginRefused       it does not let us in
│   └── MachineUnfit       it lets us in, and something that it needs is missing there
├── SpoolDamaged           the spool of a job is not what its supervisor wrote
└── PartsDamaged           chunks in the store that are not what their names say
"""

from collections.abc import Sequence
from typing import ClassVar


class SpokeError(Exception):
    """Base of all that this room raises; its message is a sentence for the person at the terminal."""

    exit_status: ClassVar[int] = 1


class NotEnrolled(SpokeError):
    exit_status = 4


class AlreadyEnrolled(SpokeError):
    exit_status = 1


class HomeInUse(SpokeError):
    exit_status = 1


class HomeUnsafe(SpokeError):
    exit_status = 3


class NoSuchUser(SpokeError):
    exit_status = 2


class PythonUnfit(SpokeError):
    exit_status = 1


class RootDiffers(SpokeError):
    exit_status = 3


class JoinRefused(SpokeError):
    exit_status = 3


class NotApproved(SpokeError):
    exit_status = 6


class GatewayUnreachable(SpokeError):
    exit_status = 5


class CannotListen(SpokeError):
    exit_status = 1


class JournalFailed(SpokeError):
    pass


class CannotStart(SpokeError):
    pass


class MachineUnreachable(SpokeError):
    pass


class LoginRefused(MachineUnreachable):
    pass


class MachineUnfit(MachineUnreachable):
    pass


class SpoolDamaged(SpokeError):
    pass


class PartsDamaged(SpokeError):
    """`names` of the chunks that must be fetched again."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(f"{len(self.names)} chunks in the store are damaged, the first is {self.names[0]}")
