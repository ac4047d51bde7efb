"""Sessions: rows behind a random cookie, ended by time, by hand and with their owner."""

import pytest

from hub.access.sessions import (
    LIFETIME_MS,
    csrf_token,
    end_session,
    end_sessions_of,
    find_session,
    new_session,
    remove_ended,
    replace_session,
    session_id,
    sessions_of,
)
from hub.access.users import create_user
from hub.errors import NotSignedIn
from hub.storage.database import write_tx
from hub.storage.models import Session, User

NOW = 1_800_000_000_000
MINUTE = 60_000


@pytest.fixture
def user(installed_hub_on_each):
    with write_tx():
        return create_user(installed_hub_on_each.seals, "ann", NOW)


@pytest.fixture
def token(user):
    with write_tx():
        return new_session(user.id, NOW, address="192.0.2.1", agent="browser").reveal()


def test_the_row_holds_the_hash_alone(token):
    row = Session.select().dicts().get()
    assert token not in str(row)
    assert row["id_sha256"] == session_id(token)


def test_the_cookie_finds_its_session(token, user):
    assert find_session(token, NOW).user == user.id
    for other in (token[:-1], token + "A", "", "\ud800"):
        with pytest.raises(NotSignedIn):
            find_session(other, NOW)


def test_it_ends_after_half_an_hour_without_a_request(token):
    find_session(token, NOW + 29 * MINUTE)
    find_session(token, NOW + 58 * MINUTE)
    with pytest.raises(NotSignedIn):
        find_session(token, NOW + 88 * MINUTE)


def test_it_ends_after_twelve_hours_however_busy(token):
    for minute in range(0, 12 * 60, 20):
        find_session(token, NOW + minute * MINUTE)
    with pytest.raises(NotSignedIn):
        find_session(token, NOW + LIFETIME_MS)


def test_a_busy_page_writes_once_a_minute(token):
    find_session(token, NOW + 59_999)
    assert Session.get().seen_at == NOW
    find_session(token, NOW + 60_000)
    assert Session.get().seen_at == NOW + 60_000


def test_a_disabled_person_has_none(token, user):
    User.update(state="disabled").where(User.id == user.id).execute()
    with pytest.raises(NotSignedIn):
        find_session(token, NOW)


def test_proving_again_changes_the_id_and_not_the_end(token):
    with write_tx():
        fresh = replace_session(token, NOW + 10 * MINUTE, proved=True).reveal()
    with pytest.raises(NotSignedIn):
        find_session(token, NOW + 10 * MINUTE)
    row = find_session(fresh, NOW + 10 * MINUTE)
    assert (row.created_at, row.expires_at, row.reauthenticated_at) == (NOW, NOW + LIFETIME_MS, NOW + 10 * MINUTE)
    assert row.address == "192.0.2.1"


def test_signing_out_ends_one_and_signing_out_elsewhere_all_others(token, user):
    with write_tx():
        second = new_session(user.id, NOW + 1).reveal()
        new_session(user.id, NOW + 2)
    assert [row.created_at - NOW for row in sessions_of(user.id, NOW + 3)] == [2, 1, 0]
    with write_tx():
        assert end_sessions_of(user.id, but=session_id(second)) == 2
        assert end_session(session_id(second))
        assert not end_session(session_id(second))
    assert Session.select().count() == 0


def test_ended_rows_are_swept(token):
    with write_tx():
        assert remove_ended(NOW + 29 * MINUTE) == 0
        assert remove_ended(NOW + 30 * MINUTE) == 1


def test_the_csrf_token_belongs_to_the_session_and_does_not_show_it(token, user):
    with write_tx():
        other = new_session(user.id, NOW).reveal()
    assert csrf_token(token) == csrf_token(token) != csrf_token(other)
    assert token not in csrf_token(token)
