"""Each bench at a small size, all of them on one whole hub: its table is there, its figures add up."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

import bench.__main__ as command
from bench import every_kind, jobs, kinds, logs, packages, relay_memory, roundtrip
from bench.every_kind import KINDS
from bench.meter import Meter, metered
from bench.stage import Stage, running_hub
from tests.services.requires import requires

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(180)]


class Lent(Stage):
    """What a bench gets for a hub of its own; several of them call their spoke by the same name."""

    def add_spoke(self, name: str, *, standby: bool = True) -> None:
        if not self.whole.spoke_home(name).exists():
            super().add_spoke(name, standby=standby)


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[tuple[Lent, Meter]]:
    """The one hub: with all that any bench asks of its own, and its gateway behind a door that counts."""
    requires("rabbitmq")
    notes = tmp_path_factory.mktemp("notes") / "trace"
    asked = {"PYTHONPATH": str(roundtrip._TRACING), "BENCH_TRACE": str(notes), **every_kind._HOUSE}
    with metered() as door, running_hub(**asked, MANYARM_PUBLIC_NAME=f"127.0.0.1:{door.port}") as stage:
        door.target = stage.gateway_port
        lent = Lent(stage.whole)
        yield lent, door
        lent.close()


@pytest.fixture(autouse=True)
def _every_bench_has_it_lent(hub, monkeypatch):
    stage, _ = hub

    @contextmanager
    def lent(**environ: str) -> Iterator[Stage]:
        if trace := environ.get("BENCH_TRACE"):
            Path(trace).symlink_to(stage.whole.environ["BENCH_TRACE"])
        yield stage

    for bench in (roundtrip, jobs, logs, packages, every_kind):
        monkeypatch.setattr(bench, "running_hub", lent)


def gateways_door_first(door: Meter) -> Callable[[], AbstractContextManager[Meter]]:
    """For a bench that opens several doors, of which the first stands before the gateway."""
    there = [door]

    @contextmanager
    def opened() -> Iterator[Meter]:
        if there:
            yield there.pop()
            return
        with metered() as another:
            yield another

    return opened


def test_round_trip(monkeypatch):
    requires("sshd")
    monkeypatch.setattr(roundtrip, "_WARM_UP", 1)
    table, parts = roundtrip.round_trip(quick=True)
    bare, ssh, warm, cold = table.figures
    assert warm.ratios["bare exchange"] == pytest.approx(warm.value / bare.value)
    assert cold.ratios["warm ssh"] == pytest.approx(cold.value / ssh.value)
    assert sum(part.value for part in parts.figures[:-1]) == pytest.approx(parts.figures[-1].value)
    assert len(parts.figures) > 15


def test_jobs():
    (table,) = jobs.jobs(quick=True)
    bare, ours, _ = table.figures
    assert ours.ratios["bare, one by one"] == pytest.approx(ours.value / bare.value)


def test_logs(monkeypatch):
    monkeypatch.setattr(logs, "_LINES", 10_000)
    (table,) = logs.logs(quick=True)
    assert table.figures[1].value > table.figures[0].value
    assert table.figures[2].value == pytest.approx(10_000 / table.figures[1].value * 1e3)


def test_packages(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "_SIZE", 20_000_000)
    monkeypatch.setattr(packages, "_SPOKE", "packages")
    monkeypatch.setattr(packages, "metered", gateways_door_first(hub[1]))
    monkeypatch.setattr(packages, "room", lambda: str(tmp_path))
    (table,) = packages.packages(quick=True)
    names = [figure.name for figure in table.figures]
    assert "tar, one place: rsync -z" in names
    assert "zip, 64 places: Manyarm: delivered to a spoke" in names


@pytest.mark.timeout(300)
def test_kinds(hub, broker_node, monkeypatch, tmp_path):
    """Both worlds are one here: that with the doors."""
    requires("sshd")
    monkeypatch.setattr(every_kind, "metered", gateways_door_first(hub[1]))
    monkeypatch.setattr(kinds, "_WARM_UP", 1)
    monkeypatch.setattr(kinds, "_SETTLE_S", 0.3)
    monkeypatch.setattr(kinds, "_SIZE", 20_000_000)
    monkeypatch.setattr(kinds, "room", lambda: str(tmp_path))
    monkeypatch.setattr(relay_memory, "_BEAT_EVERY_S", 1)
    monkeypatch.setattr(relay_memory, "running_broker", lambda: nullcontext(broker_node))
    with every_kind.every_kind_counted() as (world, doors):
        monkeypatch.setattr(kinds, "every_kind", lambda: nullcontext(world))
        monkeypatch.setattr(kinds, "every_kind_counted", lambda: nullcontext((world, doors)))
        times, sent, relay = kinds.kinds(quick=True)
    ssh, _, polling, listening, *_, added = times.figures
    assert listening.ratios["polling"] == pytest.approx(listening.value / polling.value)
    assert listening.ratios["warm ssh"] == pytest.approx(listening.value / ssh.value)
    assert added.value == pytest.approx(listening.value - polling.value)
    bytes_of = {figure.name: int(figure.note.split()[0].replace(",", "")) for figure in sent.figures}
    assert len(bytes_of) == 15
    for kind in (*KINDS, "rsync -z"):
        assert 1_000_000 < bytes_of[f"first: {kind}"] < 2_000_000
        assert 20_000 < bytes_of[f"one place: {kind}"] < 200_000
    assert 10 < relay.figures[0].value <= relay.figures[1].value


def test_the_command_keeps_what_other_benches_wrote(monkeypatch, tmp_path, capsys):
    report = tmp_path / "bench.json"
    monkeypatch.setattr(command, "_REPORT", report)
    table = command.Table("small", "A small table", ())
    monkeypatch.setattr(command, "_BENCHES", {"small": lambda *, quick: [table]})
    report.write_text(json.dumps({"tables": {"other": {}}}))
    assert command.main([]) == 0
    found = json.loads(report.read_text())
    assert set(found["tables"]) == {"other", "small"}
    assert found["machine"]["python"]
    assert "A small table" in capsys.readouterr().out
