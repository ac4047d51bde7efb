"""Leases: one holder at a time, by the database's clock, and a fence against whoever acts after his time."""

import threading

import pytest

from hub.orchestrator.leases import TERM_MS, LeaseLost, Leases, fence, held, holders, release
from hub.storage.database import connection, write_tx
from hub.storage.models import Lease, Node

pytestmark = pytest.mark.usefixtures("database")


def _make_a_node_as(holder, now_ms):
    with write_tx():
        Node.create(name="x", mark="{}", started_at=0, until=0)
        fence("checks", holder, now_ms)


def test_who_comes_first_has_it_until_its_term_is_over():
    assert held("checks", "one", 1_000)
    assert not held("checks", "two", 1_001)
    assert held("checks", "one", 5_000)
    assert not held("checks", "two", 1_000 + TERM_MS)  # It was prolonged meanwhile.
    assert held("checks", "two", 5_000 + TERM_MS)
    assert not held("checks", "one", 5_001 + TERM_MS)


def test_each_lease_has_a_holder_of_its_own():
    assert held("checks", "one", 1_000)
    assert held("events", "two", 1_000)


def test_who_leaves_lets_go_of_all_that_he_has_and_of_nothing_else():
    held("checks", "one", 1_000)
    held("events", "two", 1_000)
    release("one")
    assert held("checks", "two", 1_001)
    assert not held("events", "one", 1_001)


def test_who_acts_after_his_time_changes_nothing():
    held("checks", "one", 1_000)
    held("checks", "two", 1_000 + TERM_MS)
    with pytest.raises(LeaseLost):
        _make_a_node_as("one", 1_001 + TERM_MS)
    assert not Node.select().exists()
    _make_a_node_as("two", 1_001 + TERM_MS)
    assert Node.select().exists()


@pytest.mark.parametrize("database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_a_fence_holds_off_the_next_holder_until_the_commit():
    """On SQLite one writes at a time anyway."""
    held("checks", "one", 1_000)
    taken: list[bool] = []

    def take():
        with connection():
            taken.append(held("checks", "two", 1_000 + TERM_MS))

    other = threading.Thread(target=take)
    with write_tx():
        fence("checks", "one", 1_001)
        other.start()
        other.join(0.3)
        assert taken == []
    other.join(30)
    assert taken == [True]


def test_nodes_that_share_a_database_take_turns_and_say_who_has_what():
    one, two = (Leases(name * 32, is_shared=lambda: True) for name in "12")
    assert one.held("checks")
    assert not two.held("checks")
    assert holders() == {"checks": "1" * 32}
    one.release()
    assert two.held("checks")


def test_without_other_nodes_everything_is_ours_and_nothing_is_written():
    alone = Leases("1" * 32, is_shared=lambda: False)
    assert alone.held("checks")
    alone.fence("checks")
    assert not Lease.select().exists()


def test_the_answer_is_asked_for_anew_before_the_fence():
    clock = [1_000]
    one, two = (Leases(name * 32, lambda: clock[0], is_shared=lambda: True) for name in "12")
    assert one.held("checks")
    clock[0] += TERM_MS
    assert two.held("checks")
    assert one.held("checks")  # It still believes so: that is what the fence is for.
    with pytest.raises(LeaseLost), write_tx():
        one.fence("checks")
    assert not one.held("checks")
