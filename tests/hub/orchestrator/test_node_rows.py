"""Nodes: who is there, who has died, and that the dead one's work is taken over once, by whoever sees it first."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from hub.broker.process import mark
from hub.orchestrator.leases import Leases, held
from hub.orchestrator.nodes import Presence, nodes
from hub.queries.nodes import all_nodes
from hub.storage.database import database_clock_ms, write_tx
from hub.storage.models import Lease, Node, new_row_id

pytestmark = pytest.mark.usefixtures("database")
# Engines live side by side on PostgreSQL; a SQLite file has one, by its lock.
ON_POSTGRES = pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Engine:
    """A node, and whom it has buried."""

    def __init__(self, name):
        self.buried = []
        self.presence = Presence(Leases(new_row_id()), self.buried.append, name)
        self.id = self.presence.id


def names():
    return [row.name for row, _ in nodes()]


def test_one_that_comes_alone_takes_over_what_a_former_one_may_have_left_and_says_that_it_is_there():
    one = Engine("one")
    one.presence.arrive()
    assert one.buried == [""]
    assert [(node.name, node.is_there, node.alone) for node in all_nodes().items] == [("one", True, [])]


def test_one_that_leaves_lets_go_of_everything():
    one = Engine("one")
    one.presence.arrive()
    held("chores", one.id, database_clock_ms())
    assert all_nodes().items[0].alone == ["chores"]
    one.presence.leave()
    assert names() == []
    assert not Lease.select().exists()


@ON_POSTGRES
def test_one_that_comes_beside_another_leaves_its_work_alone():
    one, two = Engine("one"), Engine("two")
    one.presence.arrive()
    two.presence.arrive()
    assert names() == ["one", "two"]
    assert two.buried == []


@ON_POSTGRES
def test_a_process_that_died_on_this_machine_is_buried_at_once_and_once():
    dead, two, three = Engine("dead"), Engine("two"), Engine("three")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead.presence._mark |= asdict(mark(process.pid))
    dead.presence.arrive()
    held("chores", dead.id, database_clock_ms())
    two.presence.arrive()
    assert two.buried == []
    process.kill()
    process.communicate()
    two.presence._bury_dead()
    three.presence.arrive()
    assert (two.buried, three.buried) == ([dead.id], [])
    assert held("chores", two.id, database_clock_ms())


@ON_POSTGRES
def test_one_on_another_machine_is_buried_when_its_word_runs_out_and_comes_back_when_it_wakes():
    far, two = Engine("far"), Engine("two")
    far.presence._mark["machine"] = "another"
    far.presence.arrive()
    two.presence.arrive()
    assert two.buried == []
    with write_tx():
        Node.update(until=database_clock_ms()).where(Node.id == far.id).execute()
    assert [node.is_there for node in all_nodes().items] == [False, True]
    two.presence._bury_dead()
    assert two.buried == [far.id]
    far.presence._say()
    assert names() == ["far", "two"]


@ON_SQLITE
def test_on_sqlite_whoever_has_the_file_knows_that_all_others_are_dead():
    one, two = Engine("one"), Engine("two")
    one.presence.arrive()
    two.presence.arrive()
    assert names() == ["two"]
    assert two.buried == [one.id, ""]
    assert json.loads(Node.get().mark)["pid"]
