"""A statement that is spelled once runs with other values each time, and gives what peewee would give."""

import pytest
from peewee import IntegrityError, OperationalError

from hub.states import SpokeKind, SpokeState
from hub.storage.database import database_is_away, write_tx
from hub.storage.models import Environment, Spoke
from hub.storage.prepared import Prepared, PreparedRows, hole, holes

_BY_NAME = PreparedRows(Environment, lambda: Environment.select().where(Environment.name == hole("name")))
_NAMED = Prepared(
    lambda count: Environment.select(Environment.name).where(Environment.name.in_(holes("names", count))), "names"
)
_NEW = Prepared(lambda: Environment.insert(id=hole("id"), name=hole("name"), description="", position=7))
_RENAME = Prepared(lambda: Environment.update(name=hole("new")).where(Environment.name == hole("old")))
_SPOKES = PreparedRows(Spoke, lambda: Spoke.select().where(Spoke.state == hole("state")))


@pytest.fixture
def seven(database):
    with write_tx():
        _NEW.run_each({"id": f"{number:032}", "name": f"e{number}"} for number in range(7))
    return [f"e{number}" for number in range(7)]


def test_each_run_has_its_own_values(seven):
    assert [_BY_NAME.one(name=name).name for name in seven] == seven
    assert _BY_NAME.one(name="e9") is None


def test_rows_are_what_peewee_makes_of_them(database):
    keys = {"sign_pk": "a" * 64, "sign_kid": "b" * 32, "box_pk": "c" * 64}
    with write_tx():
        Spoke.create(name="web-1", kind=SpokeKind.POLLING, state=SpokeState.TRUSTED, wants={"roles": ["web"]}, **keys)
    (found,) = _SPOKES.all(state=SpokeState.TRUSTED)
    expected = Spoke.get()
    assert found.__data__ == expected.__data__
    assert (found.state, found.wants) == (SpokeState.TRUSTED, {"roles": ["web"]})
    assert _SPOKES.all(state=SpokeState.PENDING) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7])
def test_a_list_of_any_length_finds_its_members_and_no_others(seven, count):
    assert sorted(name for (name,) in _NAMED.tuples(names=seven[:count])) == seven[:count]


def test_a_change_says_how_many_rows_it_changed(seven):
    with write_tx():
        assert _RENAME.run(old="e1", new="other") == 1
        assert _RENAME.run(old="e1", new="other") == 0
    assert _BY_NAME.one(name="other").position == 7


@pytest.mark.parametrize("run", [_NEW.run, lambda **row: _NEW.run_each([row])])
def test_what_the_database_refuses_is_told_in_peewees_words(seven, run):
    with pytest.raises(IntegrityError), write_tx():
        run(id="f" * 32, name="e1")


def test_a_database_that_is_closed_is_away(seven, database):
    database.close()
    with pytest.raises(Exception, match="not opened") as caught:
        _BY_NAME.one(name="e1")
    assert database_is_away(caught.value) or isinstance(caught.value, OperationalError)
    database.connect()
