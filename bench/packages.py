"""Bench 4: a package of 100 MB into the hub and on to a spoke, then its next versions: bytes sent and seconds."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, Table, Verdict, median
from bench.lent import opened_vault
from bench.meter import Meter, metered
from bench.samples import files, inserted, room, write_tar, write_zip
from bench.stage import BenchFailed, Stage, running_hub
from config.limits import SpokeLimits
from hub.packages.feed import find
from hub.packages.references import capability_for, refs_for
from hub.storage.database import connection
from hub.storage.vault import Vault
from spokes.agent.gateway import Gateway
from spokes.agent.home import SpokeHome
from spokes.agent.identity import IdentityStore
from spokes.agent.package_cache import PackageCache
from spokes.agent.supervisors import Supervisors
from spokes.agent.this_machine import ThisMachine
from spokes.agent.trust_store import TrustStore

_SIZE = 100_000_000
_SPOKE = "web-1"
_PLACES = {"one place": 1, "64 places": 64}
_MOST = {"one place": 0.02, "64 places": 0.03}
_HOUR_S = 3600


@dataclass
class Transfer:
    """One road, several rounds: seconds of each, bytes of the one that sent most."""

    seconds: list[float] = field(default_factory=list)
    sent: int = 0

    def took(self, seconds: float, sent: int) -> None:
        self.seconds.append(seconds)
        self.sent = max(self.sent, sent)


Results = dict[tuple[str, str], Transfer]


def packages(*, quick: bool) -> list[Table]:
    """Each round pushes and fetches everything under a fresh name, and does the same with the tools people use."""
    size, rounds = (_SIZE // 10, 1) if quick else (_SIZE, 2)
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="manyarm-packages-", dir=room()) as name:
        made = _Sample.make(Path(name), size)
        with (
            metered() as spoke_door,
            metered() as api_door,
            running_hub(MANYARM_PUBLIC_NAME=f"127.0.0.1:{spoke_door.port}") as stage,
        ):
            spoke_door.target = stage.gateway_port
            api_door.target = int(stage.whole.url.rpartition(":")[2])
            stage.whole.enrol(_SPOKE, "bench")
            road = _Road(stage, api_door, spoke_door)
            for number in range(rounds):
                _round(made, road, number, results)
        return [_table(made, results)]


@dataclass(frozen=True, slots=True)
class _Sample:
    """The first version and the next ones, each as .tar and .zip."""

    folder: Path
    first: dict[str, Path]
    following: dict[tuple[str, str], Path]

    @classmethod
    def make(cls, folder: Path, size: int) -> "_Sample":
        contents = files(size)
        writers: dict[str, Callable[[Path, list[bytes]], Path]] = {"tar": write_tar, "zip": write_zip}
        first = {kind: write(folder / f"first.{kind}", contents) for kind, write in writers.items()}
        following = {}
        for places, count in _PLACES.items():
            changed = inserted(contents, count)
            for kind, write in writers.items():
                following[places, kind] = write(folder / f"next-{count}.{kind}", changed)
        return cls(folder, first, following)


class _Road:
    """In by `manyarm package push`, out by the package cache of a spoke; counting doors before both."""

    def __init__(self, stage: Stage, api_door: Meter, spoke_door: Meter) -> None:
        self._stage = stage
        self._api_door, self._spoke_door = api_door, spoke_door
        self._vault: Vault = opened_vault(stage)
        self._environ = stage.environ(MANYARM_URL=f"http://127.0.0.1:{api_door.port}")

    def push(self, file: Path, package: str, version: str) -> tuple[float, int]:
        named = file.with_name(f"{package}.{version}{file.suffix}")
        os.link(file, named)
        try:
            self._api_door.take()
            started = time.perf_counter()
            command = [str(Path(sys.executable).parent / "manyarm"), "package", "push", str(named)]
            done = subprocess.run(command, env=self._environ, capture_output=True, text=True, check=False)
            took = time.perf_counter() - started
        finally:
            named.unlink()
        if done.returncode:
            raise BenchFailed(f"package push: {done.stderr.strip()}")
        return took, self._api_door.take()

    def cache(self) -> "_Cache":
        return _Cache(self._stage, self._vault, self._spoke_door)


class _Cache:
    """The package cache of the enrolled spoke, empty at first: the part that a job's delivery consists of."""

    def __init__(self, stage: Stage, vault: Vault, door: Meter) -> None:
        self._vault = vault
        self._door = door
        real = SpokeHome(stage.whole.spoke_home(_SPOKE))
        enrolment = IdentityStore(real).enrolment()
        self._spoke = enrolment.spoke_id
        gateway = Gateway(enrolment.gateway, timeout_s=60)
        gateway.pin(TrustStore(real).load(enrolment.root).document.pins("gateway"))
        self._root = Path(tempfile.mkdtemp(prefix="cache-", dir=room()))
        home = SpokeHome(self._root)
        home.make()
        machine = ThisMachine(home, Supervisors(home, "python3", standby=False))
        self._packages = PackageCache(
            machine,
            gateway,
            SpokeLimits(),
            free_bytes=lambda: shutil.disk_usage(self._root).free,
            index=self._root / "unpacked.json",
        )

    def fetch(self, package: str, version: str) -> tuple[float, int]:
        with connection():
            ref = refs_for(self._vault, find(package, version).id)
            ends = int(time.time()) + _HOUR_S
            capability = capability_for(self._vault, self._spoke, [ref.manifest_id], ends)
        self._door.take()
        started = time.perf_counter()
        self._packages.fetch(ref, capability)
        return time.perf_counter() - started, self._door.take()

    def remove(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


def _round(made: _Sample, road: _Road, number: int, results: Results) -> None:
    def note(what: str, road_name: str, found: tuple[float, int]) -> None:
        results.setdefault((what, road_name), Transfer()).took(*found)

    for kind, first in made.first.items():
        for places in _PLACES:
            package = f"bench-{kind}-{places.replace(' ', '-')}-{number}"
            following = made.following[places, kind]
            cache = road.cache()
            note(f"{kind}, first", "in", road.push(first, package, "1.0.0"))
            note(f"{kind}, first", "out", cache.fetch(package, "1.0.0"))
            note(f"{kind}, {places}", "in", road.push(following, package, "1.0.1"))
            note(f"{kind}, {places}", "out", cache.fetch(package, "1.0.1"))
            cache.remove()
            if kind == "tar":
                _floors(made.folder, first, following, places, note)


def _floors(
    folder: Path, first: Path, following: Path, places: str, note: Callable[[str, str, tuple[float, int]], None]
) -> None:
    copy = folder / "copy"
    note("tar, first", "cp", (_timed("cp", str(first), str(copy)), first.stat().st_size))
    note(f"tar, {places}", "cp", (_timed("cp", str(following), str(copy)), following.stat().st_size))
    note("tar, first", "rsync -z", _rsync(first, folder / "synced-anew"))
    (folder / "synced-anew").unlink()
    shutil.copy(first, copy)
    note(f"tar, {places}", "rsync -z", _rsync(following, copy))
    patch = folder / "patch"
    patching = ("--patch-from", str(first), "--long=27", "-q", "-f")
    took = _timed("zstd", *patching, str(following), "-o", str(patch))
    took += _timed("zstd", "-d", *patching, str(patch), "-o", str(copy))
    note(f"tar, {places}", "zstd --patch-from", (took, patch.stat().st_size))


def _timed(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def _rsync(source: Path, to: Path) -> tuple[float, int]:
    """As over a network: deltas and compression on, though both ends are here; bytes both ways."""
    command = ["rsync", "-z", "--no-whole-file", "--stats", str(source), str(to)]
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True)
    took = time.perf_counter() - started
    lines = [line for line in done.stdout.splitlines() if line.startswith("Total bytes")]
    return took, sum(int(line.rpartition(" ")[2].replace(",", "")) for line in lines)


def _table(made: _Sample, results: Results) -> Table:
    figures = []
    sizes = {f"{kind}, first": path.stat().st_size for kind, path in made.first.items()}
    sizes |= {f"{kind}, {places}": path.stat().st_size for (places, kind), path in made.following.items()}
    names = {"in": "Manyarm: pushed into the hub", "out": "Manyarm: delivered to a spoke"}
    for what, size in sizes.items():
        for road in ("in", "out", "cp", "rsync -z", "zstd --patch-from"):
            found = results.get((what, road))
            if found is None:
                continue
            seconds, share = median(found.seconds), found.sent / size
            floor = results.get((what, "cp"))
            ratios = {"cp": seconds / median(floor.seconds)} if floor else {}
            note = f"{found.sent:,} bytes, {share:.2%} of {size:,}"
            name = f"{what}: {names.get(road, road)}"
            figures.append(Figure(name, seconds, "s", samples=len(found.seconds), ratios=ratios, note=note))
    return Table(
        name="packages",
        title="4  100 MB in four files, half incompressible, and the next version with 1 % of random bytes inserted",
        figures=tuple(figures),
        verdicts=tuple(_verdict(places, results, sizes) for places in _PLACES),
        commands=(
            "manyarm package push FILE",
            "rsync -z --no-whole-file --stats",
            "zstd --patch-from FIRST --long=27 NEXT, and back",
        ),
        notes=(
            "Bytes are counted at a TCP door, both ways: TLS, HTTP, questions, manifest, chunks.",
            "Delivered: fetched, opened, checked and put together in the spoke's package cache, as a job finds it.",
        ),
    )


def _verdict(places: str, results: Results, sizes: dict[str, int]) -> Verdict:
    what = f"tar, {places}"
    worst = max(results[what, road].sent / sizes[what] for road in ("in", "out"))
    return Verdict(f"at most {_MOST[places]:.0%} of its bytes for {places}", f"{worst:.2%}", worst <= _MOST[places])
