"""The machine that a spoke acts on, as five verbs: run, put, list, concatenate, remove.

Everything a spoke does to a target goes through these, so one executor and one package cache serve the machine they
stand on and one at the end of an SSH connection. All paths are relative to the spoke's home on that machine, and made
of our own ids and digests alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from spokes.agent.spool import Position


@dataclass(frozen=True, slots=True)
class Program:
    """A short program that runs to its end; `argv[0]` is found on that machine."""

    argv: tuple[str, ...]
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    exit_code: int
    output: bytes


@dataclass(frozen=True, slots=True)
class JobRun:
    """The run of one job in its folder, under the runner with that digest.

    `line` is the JSON line for the supervisor's standard input, secrets included; None starts nothing and watches the
    run that was started before.
    """

    cid: str
    runner: str
    line: bytes | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a run showed.

    `data` are whole records of the spool from where the watch stood, `after` is where it stands now. `outcome` is the
    file of that name, given as soon as it exists, though there may be more data. `lost`: no outcome, no more data, and
    no supervisor that could still write any; `ended` processes that it left behind were killed. `unclaimed`: lost, and
    no supervisor has had the job, nor will one. `cut_off`: nobody could look just now.
    """

    data: bytes
    after: Position
    outcome: bytes | None
    lost: bool
    cut_off: bool = False
    ended: int = 0
    unclaimed: bool = False


class Watch(Protocol):
    """Follows one run; used by one thread. It begins where the hub's confirmations ended."""

    @property
    def position(self) -> Position:
        """Where it stands."""
        ...

    def read(self, limit: int, wait_s: float) -> Seen:
        """Look, waiting at most `wait_s` for something new; takes up to `limit` bytes, or one record if it is longer.

        Raises:
            SpoolDamaged: The spool is not what a supervisor writes.
        """
        ...

    def go_back(self, position: Position) -> None:
        """Read again from there."""
        ...

    def confirmed(self, position: Position) -> None:
        """Remember how far the hub's confirmations go."""
        ...

    def close(self) -> None:
        """Stop watching; the run goes on."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is there; `sha256` is "" unless asked for, `used_at` (UTC s) is when it was last made or touched."""

    size: int
    sha256: str = ""
    used_at: int = 0


class Machine(Protocol):
    @property
    def home(self) -> str:
        """The spoke's home there, absolute."""
        ...

    @overload
    def run(self, what: Program) -> Ran: ...

    @overload
    def run(self, what: JobRun) -> Watch: ...

    def put(self, folder: str, files: Iterable[tuple[str, bytes]], *, durable: bool = True) -> None:
        """Write files privately, each whole or not at all; makes the folder."""
        ...

    def list(self, folder: str, names: Sequence[str] | None = None, *, hashed: bool = False) -> dict[str, Entry]:
        """The files there, by their path in the folder: of those names, or all, those in folders below included."""
        ...

    def concatenate(self, parts: Sequence[str], to: str, *, sha256: str, expand: bool = False) -> Entry:
        """Join chunks, named by their digests, to one file.

        Args:
            parts: Names in `chunks`, in order.
            to: Path of the file.
            sha256: Of the parts together.
            expand: The parts are zstd; leave what they unpack to.

        Raises:
            PartsDamaged: Some chunks are missing or not what their names say; nothing is left at `to`.
            Refused: BLOB_HASH, the parts are sound and their sum is not; BLOB_SIZE, they unpack to too much.
        """
        ...

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files or whole folders; what is not there is no error."""
        ...
