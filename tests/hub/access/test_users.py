"""People come in by a setup code, hold roles, and lose everything at once when they are disabled."""

import pytest

from hub.access.api_keys import new_api_key
from hub.access.names import address_key, name_key
from hub.access.sessions import new_session
from hub.access.setup_codes import VALID_MS
from hub.access.users import (
    create_user,
    disable_user,
    enable_user,
    find_user,
    first_administrator,
    grant_role,
    remove_grant,
    set_password,
)
from hub.errors import Conflict, Invalid, NotAllowed
from hub.permissions import Permission, may
from hub.storage.database import write_tx
from hub.storage.models import ApiKey, Grant, Session, SetupCode, User, now_ms


@pytest.fixture
def hub(installed_hub_on_each):
    return installed_hub_on_each


def _make(hub, name="ann", **options):
    with write_tx():
        return create_user(hub.seals, name, now_ms(), **options)


def test_the_setup_code_makes_one_administrator_and_then_nothing_more(hub):
    with write_tx():
        user = first_administrator(hub.seals, hub.installed.setup_code.upper(), "Ann", "$hash", now_ms())
    assert may(list(Grant.select().where(Grant.user == user.id)), Permission.USER_EDIT)
    hub.seals.check(User.get())
    hub.seals.check(Grant.get())
    with pytest.raises(NotAllowed), write_tx():
        first_administrator(hub.seals, hub.installed.setup_code, "Bob", "$hash", now_ms())
    assert User.select().count() == 1


@pytest.mark.parametrize("code", ["", "aaaa-aaaa-aaaa-aaaa-aaaa-aaaa", "\ud800"])
def test_another_code_makes_nobody_administrator(hub, code):
    with pytest.raises(NotAllowed), write_tx():
        first_administrator(hub.seals, code, "Ann", "$hash", now_ms())
    assert User.select().count() == 0


def test_a_setup_code_runs_out_and_cannot_be_prolonged_by_sql(hub):
    with pytest.raises(NotAllowed), write_tx():
        first_administrator(hub.seals, hub.installed.setup_code, "Ann", "$h", now_ms() + VALID_MS)
    SetupCode.update(expires_at=10**15).execute()
    with pytest.raises(Exception, match="changed outside"), write_tx():
        first_administrator(hub.seals, hub.installed.setup_code, "Ann", "$h", now_ms() + VALID_MS)


def test_a_name_in_another_spelling_is_the_same_name(hub):
    user = _make(hub, "Ann")
    assert find_user("\uff21nn").id == find_user(" ANN ").id == user.id
    assert find_user("bob") is None
    assert find_user("a\x00") is None
    with pytest.raises(Conflict):
        _make(hub, "aNN")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "\u202ea", "x" * 101, "\ue000"])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(Invalid):
        name_key(name)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("evil", "unknown"),
    ],
)
def test_one_visitor_is_an_address_or_a_64(address, key):
    assert address_key(address) == key


def test_disabling_ends_sessions_and_keys_for_good(hub):
    first, user = _make(hub, "root"), _make(hub)
    with write_tx():
        grant_role(hub.seals, first.id, "system-admin", now_ms())
        new_session(user.id, now_ms())
        new_api_key(hub.seals, user, "ci", now_ms(), expires_at=now_ms() + 1000)
        disable_user(hub.seals, user, now_ms())
    assert Session.select().count() == 0
    assert ApiKey.get().revoked_at is not None
    with write_tx():
        enable_user(hub.seals, user)
    assert ApiKey.get().revoked_at is not None
    hub.seals.check(User.get_by_id(user.id))
    hub.seals.check(ApiKey.get())


def test_a_new_password_ends_the_sessions_and_the_keys(hub):
    user = _make(hub)
    with write_tx():
        new_session(user.id, now_ms())
        new_api_key(hub.seals, user, "ci", now_ms(), expires_at=now_ms() + 1000)
        set_password(hub.seals, user, "$new")
    assert Session.select().count() == 0
    assert ApiKey.get().revoked_at is not None
    assert User.get_by_id(user.id).version == 2


def test_the_last_administrator_cannot_be_taken_away(hub):
    ann, bob = _make(hub), _make(hub, "bob")
    with write_tx():
        grant = grant_role(hub.seals, ann.id, "system-admin", now_ms())
    with pytest.raises(Conflict), write_tx():
        disable_user(hub.seals, ann, now_ms())
    ann = User.get_by_id(ann.id)
    with pytest.raises(Conflict), write_tx():
        remove_grant(grant)
    with write_tx():
        grant_role(hub.seals, bob.id, "system-admin", now_ms())
        remove_grant(grant)
    with pytest.raises(Conflict), write_tx():
        disable_user(hub.seals, bob, now_ms())


def test_a_role_is_given_once_and_must_exist(hub):
    user = _make(hub)
    with write_tx():
        grant_role(hub.seals, user.id, "viewer", now_ms())
    with pytest.raises(Conflict), write_tx():
        grant_role(hub.seals, user.id, "viewer", now_ms())
    with pytest.raises(Invalid), write_tx():
        grant_role(hub.seals, user.id, "god", now_ms())
