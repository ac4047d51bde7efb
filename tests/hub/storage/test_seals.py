"""Rows that grant something are as the engine sealed them, or they are not used."""

import pytest

from hub.errors import SealBroken
from hub.events.audit import verify_database
from hub.storage.database import write_tx
from hub.storage.hub_keys import public_keys
from hub.storage.models import ALL_TABLES, Grant, Lifecycle, Project, User
from hub.storage.models.table import SealedTable
from hub.storage.seals import RowSeals, sealed_bytes
from wire.keys import SigningKey
from wire.roles import Role


@pytest.fixture
def hub(installed_hub_on_each):
    return installed_hub_on_each


def _user(seals, name="ann"):
    with write_tx():
        row = User(name=name, name_key=name, password_hash="$argon2id$x")
        seals.seal(row)
        row.save(force_insert=True)
    return row


def test_a_sealed_row_holds_after_it_was_read_back(hub):
    row = _user(hub.seals)
    hub.seals.check(User.get_by_id(row.id))


def test_json_references_and_states_are_sealed_as_they_come_back(hub):
    with write_tx():
        lifecycle = Lifecycle(name="L", phases=[{"b": 1, "a": ["é"]}])
        project = Project(name="P", slug="p", lifecycle=lifecycle, process=[{"name": "x", "n": 1}])
        for row in (lifecycle, project):
            hub.seals.seal(row)
            row.save(force_insert=True)
    hub.seals.check(Lifecycle.get())
    hub.seals.check(Project.get())
    hub.seals.check(Project.select(Project, Lifecycle).join(Lifecycle).get())


@pytest.mark.parametrize(
    "change",
    [{"password_hash": "$other"}, {"state": "disabled"}, {"version": 2}, {"name": "bob"}, {"must_change": True}],
)
def test_a_changed_column_breaks_the_seal(hub, change):
    row = _user(hub.seals)
    User.update(change).where(User.id == row.id).execute()
    with pytest.raises(SealBroken):
        hub.seals.check(User.get_by_id(row.id))


def test_a_column_that_grants_nothing_may_change(hub):
    row = _user(hub.seals)
    User.update(display_name="Ann").where(User.id == row.id).execute()
    hub.seals.check(User.get_by_id(row.id))


def test_a_seal_of_another_row_or_key_does_not_fit(hub):
    ann, bob = _user(hub.seals, "ann"), _user(hub.seals, "bob")
    User.update(seal=ann.seal).where(User.id == bob.id).execute()
    assert not hub.seals.holds(User.get_by_id(bob.id))
    stranger = RowSeals(signing=SigningKey.generate())
    User.update(seal=stranger.seal_of(ann)).where(User.id == ann.id).execute()
    assert not hub.seals.holds(User.get_by_id(ann.id))


@pytest.mark.parametrize("seal", [None, "", "x", "a:b", "é:é"])
def test_a_row_without_a_proper_seal_is_refused(hub, seal):
    row = _user(hub.seals)
    User.update(seal=seal).where(User.id == row.id).execute()
    with pytest.raises(SealBroken):
        hub.seals.check(User.get_by_id(row.id))


def test_a_row_that_held_once_is_refused_as_soon_as_it_is_another(hub):
    row = _user(hub.seals)
    hub.seals.check(User.get_by_id(row.id))
    hub.seals.check(User.get_by_id(row.id))
    User.update(password_hash="another").where(User.id == row.id).execute()
    with pytest.raises(SealBroken):
        hub.seals.check(User.get_by_id(row.id))


def test_a_change_through_the_hub_does_not_make_good_what_was_changed_outside(hub):
    row = _user(hub.seals)
    User.update(password_hash="$argon2id$attacker").where(User.id == row.id).execute()
    changed = User.get_by_id(row.id)
    changed.version += 1
    with pytest.raises(SealBroken), write_tx():
        hub.seals.seal(changed)
    User.update(seal=None).where(User.id == row.id).execute()
    with pytest.raises(SealBroken), write_tx():
        hub.seals.seal(User.get_by_id(row.id))
    assert not hub.seals.holds(User.get_by_id(row.id))


def test_a_grant_written_by_sql_gives_nothing(hub):
    row = _user(hub.seals)
    Grant.create(user=row.id, role="system-admin")
    assert not hub.seals.holds(Grant.get())


def test_sealing_outside_a_transaction_is_refused(hub):
    with pytest.raises(RuntimeError):
        hub.seals.seal(User(name="x", name_key="x"))


def test_every_sealed_table_names_columns_that_it_has():
    sealed = [model for model in ALL_TABLES if issubclass(model, SealedTable)]
    assert len(sealed) >= 12
    for model in sealed:
        assert model.SEALED, model.__name__
        assert set(model.SEALED) <= set(model._meta.fields), model.__name__
        sealed_bytes(model())


def test_verify_knows_of_each_seal_and_finds_none_wrong(hub):
    _user(hub.seals)
    assert verify_database(hub.installed.hub_id, public_keys(Role.HUB_AUDIT)).ok
