"""Two engines on one database: what both see is done once; and one whose database comes and goes loses nothing (F15)."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest

from hub.orchestrator.engine import Engine
from hub.orchestrator.leases import CHORES, Leases
from hub.states import TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, Spoke, Timer, new_row_id
from tests.chaos.proxy import Trouble, proxied
from tests.fakes.installed_hub import installed_hub
from tests.hub.orchestrator.rig import Rig, Run, until
from tests.services.whole import until as patiently

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]


@pytest.fixture
def troubled(postgres, postgres_tables_url, tmp_path):
    """A rig whose PostgreSQL is behind a door, that door, and the database's own address."""
    with proxied(postgres.port) as proxy:
        url = postgres_tables_url.replace(f":{postgres.port}/", f":{proxy.port}/")
        with installed_hub(tmp_path, url) as hub, connection():
            rig = Rig(SimpleNamespace(vault=hub.engine, seals=hub.seals))
            yield rig, proxy, postgres_tables_url
            proxy.heal()
            rig.close()


def second_of(rig):
    """Another engine on the same rows, which is not started."""
    return Engine(replace(rig.parts, leases=Leases(new_row_id())))


def test_a_timer_that_two_engines_see_fires_in_one_of_them(troubled):
    rig, _, url = troubled
    gate = threading.Event()
    spoke = rig.spoke("web-01", lambda _: Run(gate=gate)).start()
    rig.engine.start()
    task = rig.run("true", spoke)
    until(lambda: Timer.select().where(Timer.task == task.id).exists())
    rig.engine.stop()
    two = second_of(rig)
    with write_tx():
        Timer.update(due_at=0).execute()
    count = Timer.select().count()
    with psycopg.connect(url) as other:
        # As the first one would hold them in mid-transaction.
        other.execute("SELECT id FROM timer FOR UPDATE")
        two.clockwork.work()
        assert Timer.select().count() == count
    two.clockwork.work()
    assert not Timer.select().where(Timer.due_at == 0).exists()
    gate.set()


def test_chores_are_one_engines_until_it_leaves(troubled):
    rig, _, _ = troubled
    two = second_of(rig)
    assert rig.engine.leases.held(CHORES)
    done = []
    two.leases.alone(CHORES, lambda: done.append("two"))()
    rig.engine.leases.alone(CHORES, lambda: done.append("one"))()
    assert done == ["one"]
    rig.engine.leases.release()
    two.leases.alone(CHORES, lambda: done.append("two"))()
    assert done == ["one", "two"]


def test_an_engine_that_never_heard_a_spoke_knows_that_it_is_ahead_of_the_hub(troubled):
    rig, _, _ = troubled
    rig.spoke("web-01")
    assert second_of(rig).stopped() == ""
    with write_tx():
        Spoke.update(trust_version=rig.trust.version + 1).execute()
    assert second_of(rig).stopped().startswith("TRUST_ROLLBACK")


def test_f15_runs_whose_database_is_cut_off_again_and_again_end_as_if_it_had_not_been(troubled):
    rig, proxy, _ = troubled
    gate = threading.Event()
    spoke = rig.spoke("web-01", lambda _: Run(tuple(f"line {number}\n" for number in range(20)), gate=gate)).start()
    rig.engine.start()
    tasks = [rig.run("true", spoke) for _ in range(3)]
    for number in range(3):
        proxy.meet(Trouble(refuses=True))
        if number == 1:
            # What the spoke says meanwhile is not answered, and comes again.
            gate.set()
        patiently(lambda: proxy.connections == 0, "the database was not cut off")
        proxy.heal()

    def states():
        with connection():
            return [rig.state(task) for task in tasks]

    patiently(lambda: set(_asked(states)) == {TaskState.SUCCEEDED}, lambda: str(_asked(states)), 90)
    with connection():
        for task in tasks:
            ended = Event.select().where(Event.object == f"task:{task.id}", Event.action == "script-run.succeeded")
            assert ended.count() == 1


def _asked(read):
    """What it reads, [] where the connection is dead."""
    try:
        return read()
    except Exception as error:
        return [type(error).__name__]
