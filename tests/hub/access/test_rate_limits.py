"""Guessing gets slower with each failure, is remembered across processes, and locks nobody out for good."""

import threading

import pytest

from hub.access import rate_limits
from hub.access.passwords import HashCost, Passwords
from hub.access.rate_limits import LONGEST_WAIT_MS, Rate, failed, remove_forgotten, succeeded, take
from hub.access.sessions import find_session
from hub.access.signing_in import Visitor, sign_in
from hub.access.users import create_user, disable_user
from hub.errors import NotSignedIn, TooMany
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, RateBucket

NOW = 1_800_000_000_000
RATE = Rate(per_minute=60, burst=3)
PASSWORDS = Passwords(HashCost(ops=1, memory_bytes=8192))
HERE = Visitor("192.0.2.1")


def test_a_burst_passes_and_then_one_a_second(database):
    for _ in range(3):
        take("x", RATE, NOW)
    with pytest.raises(TooMany) as refused:
        take("x", RATE, NOW)
    assert refused.value.retry_after_s == 1
    take("x", RATE, NOW + 1_000)
    with pytest.raises(TooMany):
        take("x", RATE, NOW + 1_999)
    take("y", RATE, NOW)


def test_a_clock_that_goes_back_gives_nothing(database):
    for _ in range(3):
        take("x", RATE, NOW)
    with pytest.raises(TooMany):
        take("x", RATE, NOW - 1_000_000)


def test_failures_wait_longer_and_longer_up_to_a_quarter_of_an_hour(database):
    waits = []
    for _ in range(30):
        failed("x", RATE, NOW)
        waits.append(RateBucket.get_by_id("x").blocked_until - NOW)
    assert waits[:8] == [0, 0, 0, 0, 2_000, 4_000, 8_000, 16_000]
    assert waits[-1] == LONGEST_WAIT_MS
    with pytest.raises(TooMany):
        take("x", RATE, NOW + LONGEST_WAIT_MS - 1)
    take("x", RATE, NOW + LONGEST_WAIT_MS)
    succeeded("x")
    take("x", RATE, NOW + LONGEST_WAIT_MS)


def test_many_at_once_take_no_more_than_there_is(database):
    taken, refused = [], []

    def attempt():
        with connection():
            try:
                take("x", Rate(per_minute=1, burst=5), NOW)
                taken.append(1)
            except TooMany:
                refused.append(1)

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (5, 15)


def test_full_buckets_are_swept(database):
    take("x", RATE, NOW)
    with write_tx():
        assert remove_forgotten(NOW + rate_limits.FORGOTTEN_MS) == 0
        assert remove_forgotten(NOW + rate_limits.FORGOTTEN_MS + 1) == 1


@pytest.fixture
def hub(installed_hub_on_each):
    with write_tx():
        create_user(installed_hub_on_each.seals, "Ann", NOW, password_hash=PASSWORDS.hash("correct horse battery"))
    return installed_hub_on_each


def test_name_and_password_give_a_session_and_an_event(hub):
    signed_in = sign_in(PASSWORDS, hub.seals, "ann", "correct horse battery", HERE, NOW)
    assert find_session(signed_in.token.reveal(), NOW).user == signed_in.user.id
    last = Event.select().order_by(Event.seq.desc()).first()
    assert (last.action, last.outcome, last.actor) == ("session.create", "ok", f"user:{signed_in.user.id}")


def test_every_failure_says_the_same_and_is_on_the_record(hub):
    with write_tx():
        gone = create_user(hub.seals, "gone", NOW, password_hash=PASSWORDS.hash("correct horse battery"))
        disable_user(hub.seals, gone, NOW)
    said = set()
    for name, password in [("ann", "wrong"), ("nobody", "wrong"), ("gone", "correct horse battery"), ("a\x00", "x")]:
        with pytest.raises(NotSignedIn) as refused:
            sign_in(PASSWORDS, hub.seals, name, password, HERE, NOW)
        said.add(refused.value.detail)
    assert len(said) == 1
    assert Event.select().where(Event.outcome == "refused").count() == 4


def test_guessing_one_account_in_many_spellings_is_one_account(hub):
    spellings = ["ann", "ANN", " Ann", "\uff21nn", "aNN", "AnN"]
    for name in spellings[:5]:
        with pytest.raises(NotSignedIn):
            sign_in(PASSWORDS, hub.seals, name, "wrong", Visitor(f"192.0.2.{len(name)}"), NOW)
    with pytest.raises(TooMany):
        sign_in(PASSWORDS, hub.seals, spellings[5], "correct horse battery", HERE, NOW)
    sign_in(PASSWORDS, hub.seals, spellings[5], "correct horse battery", HERE, NOW + 2_000)


def test_one_visitor_guessing_many_accounts_is_slowed(hub):
    outcomes = []
    for number in range(40):
        with pytest.raises((NotSignedIn, TooMany)) as refused:
            sign_in(PASSWORDS, hub.seals, f"user{number}", "wrong", Visitor("2001:db8::1"), NOW)
        outcomes.append(refused.type)
    assert outcomes.count(TooMany) == 10
