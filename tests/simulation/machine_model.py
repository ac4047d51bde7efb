"""A machine and what runs on it. Runs outlive the spoke that started them, and nothing outlives a reboot.

It is also the witness: it knows what really started and how that ended, whatever anybody says.
"""

from dataclasses import dataclass

from tests.simulation.world import World

GRACE_MS = 2_000


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """What a cursor asks of a record; its chain value says which one it is."""

    number: int
    chain: bytes
    size: int = 1


def chain_before(number: int) -> str:
    return number.to_bytes(32, "big").hex()


def record(number: int) -> SpoolRecord:
    return SpoolRecord(number, (number + 1).to_bytes(32, "big"))


@dataclass(frozen=True, slots=True)
class Script:
    """What the run of a job will be like."""

    length_ms: int
    exit_code: int
    prints_at_ms: tuple[int, ...]
    wall_ms: int


@dataclass(slots=True)
class Run:
    """`ends_ms`: when it ends or ended. `lost`: its supervisor died without a word."""

    script: Script
    started_ms: int
    ends_ms: int
    state: str
    lost: bool = False
    shipped: int = 0

    def records(self, now: int) -> int:
        until = min(now, self.ends_ms) - self.started_ms
        return sum(at <= until for at in self.script.prints_at_ms)

    def is_over(self, now: int) -> bool:
        return now >= self.ends_ms

    def next_change(self, now: int) -> int:
        """When there is something new to see; the end at the latest."""
        since = now - self.started_ms
        return min((self.started_ms + at for at in self.script.prints_at_ms if at > since), default=self.ends_ms)


class Machine:
    """The folder of each job, by its id."""

    def __init__(self, world: World, name: str, scripts: dict[str, Script]) -> None:
        self._world = world
        self._scripts = scripts
        self.name = name
        self.runs: dict[str, Run] = {}
        self.starts: dict[str, list[int]] = {}
        self.rebooted = False
        self.spools_gone = False
        self.too_late: set[str] = set()
        self.claimed: set[str] = set()

    def start(self, cid: str, at: int, expires_ms: int) -> None:
        """`at`: the time by the clock that whoever starts it goes by; `expires_ms`: what he was told by that clock."""
        now, script = self._world.now, self._scripts[cid]
        self._world.note(f"{self.name} starts {cid}")
        self.starts.setdefault(cid, []).append(now)
        if at >= expires_ms:
            self.too_late.add(cid)
        if script.length_ms > script.wall_ms:
            self.runs[cid] = Run(script, now, now + script.wall_ms, "timed-out")
        else:
            state = "failed" if script.exit_code else "succeeded"
            self.runs[cid] = Run(script, now, now + script.length_ms, state)

    def cancel(self, cid: str) -> None:
        """A file in its folder; its supervisor ends it within the grace."""
        run, now = self.runs.get(cid), self._world.now
        if run is not None and not run.is_over(now) and run.state != "cancelled":
            run.ends_ms = min(run.ends_ms, now + self._world.chance.randrange(1, GRACE_MS))
            run.state = "cancelled"

    def reboot(self) -> None:
        self.rebooted = True
        now = self._world.now
        for run in self.runs.values():
            if not run.is_over(now):
                run.lost, run.ends_ms = True, now
