"""Bench 5: the round trip and the package for each kind of spoke side by side, beside ssh and rsync of the same run."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.every_kind import ENVIRONMENT, KINDS, Doors, EveryKind, every_kind, every_kind_counted
from bench.figures import Figure, Table, Verdict, median, timed
from bench.packages import Transfer
from bench.relay_memory import TARGET_MB, relay_memory
from bench.samples import files, inserted, room, write_tar
from bench.sshd import WarmSsh
from spokes.remote.endpoint import Address, Endpoint, HostKey, Login
from spokes.remote.link import HandLink
from spokes.ssh import open_connection
from wire.secret import Secret

_SIZE = 100_000_000
# The targets are of these; less shows the shape alone.
_JUDGED_SIZE, _JUDGED_SPOKES = 100_000_000, 1_000
_PLACES = {"one place": 1, "64 places": 64}
_WARM_UP = 4
# A standby that is being made takes a core for a moment; nothing is timed in it.
_PAUSE_S = 0.3
# What a deployment has to clear up after its end belongs to its bytes.
_SETTLE_S = 1.5
_SSH = "ssh over a warm ControlMaster"
_OURS = "a command over the ssh spoke's connection"
_RSYNC = "rsync -z"

Found = dict[tuple[str, str], Transfer]


def kinds(*, quick: bool) -> list[Table]:
    """Two hubs: one with nothing in between for the times, one with doors for the bytes; then a relay with a crowd."""
    with every_kind() as world:
        times = _round_trips(world, 3 if quick else 100)
    with every_kind_counted() as (world, doors), tempfile.TemporaryDirectory(dir=room()) as name:
        folder = Path(name)
        found: Found = {}
        size = _SIZE // 10 if quick else _SIZE
        sizes = _packages(world, doors, folder, size, 1 if quick else 2, found)
    return [_times_table(times), _packages_table(size, sizes, found), _memory_table(20 if quick else _JUDGED_SPOKES)]


# Round trips


def _round_trips(world: EveryKind, rounds: int) -> dict[str, list[float]]:
    """Each kind in turn, and ssh twice: as people use it, and as the ssh spoke does without hub, journal and log."""
    times: dict[str, list[float]] = {}
    with _open_hand(world.ssh, world.stage.folder / "hand") as hand:
        ways: dict[str, Callable[[], object]] = {
            _SSH: lambda: world.ssh.run("true"),
            _OURS: lambda: hand.ask("run", argv=["true"], timeout=10),
            **{kind: _running(world, kind) for kind in KINDS},
        }
        for number in range(_WARM_UP + rounds):
            for name in _turned(list(ways), number):
                time.sleep(_PAUSE_S)
                started = time.perf_counter()
                ways[name]()
                if number >= _WARM_UP:
                    times.setdefault(name, []).append(time.perf_counter() - started)
    return times


def _running(world: EveryKind, kind: str) -> Callable[[], None]:
    return lambda: world.run(kind)


def _turned(names: list[str], number: int) -> list[str]:
    """Nobody stands behind the same one each time."""
    at = number % len(names)
    return names[at:] + names[:at]


@contextmanager
def _open_hand(ssh: WarmSsh, home: Path) -> Iterator[HandLink]:
    endpoint = Endpoint(
        address=Address("127.0.0.1", ssh.port),
        login=Login(ssh.user, Secret(ssh.private_key), None, None),
        host_key=HostKey.parse(ssh.host_key),
        home=str(home),
        python="",
        allow_weak=False,
    )
    connection = open_connection(endpoint)
    try:
        link = HandLink(connection.session, home=endpoint.home, python="")
        yield link
        link.close()
    finally:
        connection.close()


def _times_table(times: Mapping[str, list[float]]) -> Table:
    polling, ssh = times["polling"], times[_SSH]
    floors = {"warm ssh": ssh, "polling": polling}
    relay_ms = (median(times["listening"]) - median(polling)) * 1e3
    command, whole = (median(times[name]) / median(ssh) for name in (_OURS, "ssh"))
    return Table(
        name="kinds",
        title="5  Round trip by kind: API call to recorded exit code of `true`",
        figures=(
            timed(_SSH, ssh),
            timed(_OURS, times[_OURS], {"warm ssh": ssh}),
            *(timed(f"Manyarm, {kind}", times[kind], floors) for kind in KINDS),
            Figure("what the relay adds: listening less polling", relay_ms, "ms"),
        ),
        verdicts=(
            Verdict("an ssh command at most twice warm ssh", f"{command:.2f} times its time", command <= 2),
            Verdict("an ssh job, recorded, at most twice warm ssh", f"{whole:.2f} times its time", whole <= 2),
            Verdict("the relay adds at most 5 ms", f"{relay_ms:.1f} ms", relay_ms <= 5),
        ),
        commands=("POST /api/v1/runs", "ssh -S MASTER 127.0.0.1 true"),
        notes=(
            "Each round takes every row once, in an order that turns; supervisors stand by.",
            "The second row forks `true` on the target and waits for it: no hub, no journal, no log.",
            "ssh and the spoke use one private sshd; the ssh row has the start of the ssh client in it.",
        ),
    )


# Packages


def _packages(world: EveryKind, doors: Doors, folder: Path, size: int, rounds: int, found: Found) -> Mapping[str, int]:
    """Every round has bytes of its own: what a target has seen once is not sent again."""
    sizes: dict[str, int] = {}
    for number in range(rounds):
        package = f"bench-{number}"
        versions = _versions(folder, package, size, number)
        sizes = {what: path.stat().st_size for what, path in versions.items()}
        for path in versions.values():
            world.stage.whole.manyarm("package", "push", str(path))
        for kind in KINDS:
            project = _project(world, kind, package)
            for at, what in enumerate(versions):
                found.setdefault((what, kind), Transfer()).took(*_deployed(world, doors, kind, project, package, at))
        for what, path in versions.items():
            took = _synced(world.ssh, doors, None if what == "first" else versions["first"], path)
            found.setdefault((what, _RSYNC), Transfer()).took(*took)
        for path in versions.values():
            path.unlink()
    return sizes


def _versions(folder: Path, package: str, size: int, number: int) -> dict[str, Path]:
    """1.0.0, and what follows from it as 1.0.1 and 1.0.2."""
    contents = files(size, seed=10 + number)
    changed = {"first": contents}
    for what, places in _PLACES.items():
        changed[what] = inserted(contents, places, seed=1000 * (number + 1) + places)
    return {
        what: write_tar(folder / f"{package}.1.0.{at}.tar", content)
        for at, (what, content) in enumerate(changed.items())
    }


def _project(world: EveryKind, kind: str, package: str) -> str:
    name = f"{kind}-{package}"
    file = world.stage.folder / f"{name}.yaml"
    file.write_text(
        f"kind: Lifecycle\nname: Bench\nphases: [{{name: All, environments: [{ENVIRONMENT}]}}]\n---\n"
        f"kind: Project\nname: {name}\nlifecycle: Bench\nprocess:\n"
        f"  - {{name: Install, kind: deploy-package, roles: [{kind}], package: {package}}}\n"
    )
    world.stage.whole.manyarm("apply", "-f", str(file))
    return name


def _deployed(world: EveryKind, doors: Doors, kind: str, project: str, package: str, number: int) -> tuple[float, int]:
    version = f"1.0.{number}"
    api, door = world.stage.api, doors.of(kind)
    api.post("/releases", {"project": project, "version": version, "packages": {package: version}})
    door.take()
    started = time.perf_counter()
    asked = {"project": project, "release": version, "environment": ENVIRONMENT}
    world.stage.rows.until_ended(str(api.post("/deployments", asked)["task"]))
    took = time.perf_counter() - started
    time.sleep(_SETTLE_S)
    return took, door.take()


def _synced(ssh: WarmSsh, doors: Doors, before: Path | None, file: Path) -> tuple[float, int]:
    """Through the master connection and the same door as the ssh spoke, over a file that is there or is not."""
    with tempfile.TemporaryDirectory(dir=room()) as name:
        there = Path(name) / "synced.tar"
        if before is not None:
            there.write_bytes(before.read_bytes())
        doors.ssh.take()
        started = time.perf_counter()
        shell = " ".join(ssh.command[:-1])
        subprocess.run(["rsync", "-z", "--no-whole-file", "-e", shell, str(file), f"127.0.0.1:{there}"], check=True)
        return time.perf_counter() - started, doors.ssh.take()


def _packages_table(size: int, sizes: Mapping[str, int], found: Found) -> Table:
    figures = []
    for what in sizes:
        floor = median(found[what, _RSYNC].seconds)
        for way in (*KINDS, _RSYNC):
            transfer = found[what, way]
            seconds = median(transfer.seconds)
            note = f"{transfer.sent:,} bytes, {transfer.sent / sizes[what]:.2%} of {sizes[what]:,}"
            name = f"{what}: {way}"
            ratios = {_RSYNC: seconds / floor}
            figures.append(Figure(name, seconds, "s", samples=len(transfer.seconds), ratios=ratios, note=note))
    share = found["64 places", "ssh"].sent / sizes["64 places"]
    verdict = Verdict("over SSH at most 3% of its bytes for 64 places", f"{share:.2%}", share <= 0.03)
    return Table(
        name="kinds-packages",
        title=f"5b A .tar of {size // 1_000_000} MB by kind, and the next version with 1 % of random bytes inserted",
        figures=tuple(figures),
        verdicts=(verdict,) if size == _JUDGED_SIZE else (),
        commands=(
            "POST /api/v1/deployments with one deploy-package step",
            "rsync -z --no-whole-file -e 'ssh -S MASTER'",
        ),
        notes=(
            "Seconds of a kind: from the API call to the recorded end; unpacked and switched over. rsync only copies.",
            "Bytes both ways at a TCP door. Polling and local: before the gateway. Listening: between relay and spoke.",
            "ssh: between spoke and sshd. At the last two commands, log and beats count too.",
            "ssh: the spoke beside the hub has fetched the package once; what is counted is what goes to the target.",
        ),
    )


def _memory_table(spokes: int) -> Table:
    found = relay_memory(spokes)
    verdict = Verdict(f"at most {TARGET_MB} MB", f"{found.most_mb:.0f} MB", found.most_mb <= TARGET_MB)
    return Table(
        name="kinds-relay",
        title=f"5c One relay with {spokes:,} listening spokes",
        figures=(
            Figure("relay resident, all at rest", found.now_mb, "MB"),
            Figure("relay resident, at its most", found.most_mb, "MB"),
            Figure("all of them connected after", found.up_s, "s"),
        ),
        verdicts=(verdict,) if spokes == _JUDGED_SPOKES else (),
        notes=("Each greets, beats every ten seconds and has its own key; the relay is the real program.",),
    )
