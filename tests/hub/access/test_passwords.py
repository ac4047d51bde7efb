"""Passwords: hashed at a stated cost, the same work for nobody, and none of those tried first."""

import threading
import time

import pytest

from hub.access.passwords import HashCost, Passwords, check_new_password, is_common
from hub.errors import Invalid, TooMany

CHEAP = HashCost(ops=1, memory_bytes=8192)


@pytest.fixture
def passwords():
    return Passwords(CHEAP)


def test_the_cost_is_64_mib_and_three_passes_unless_a_test_says_less():
    assert Passwords().hash("a long enough password").startswith("$argon2id$v=19$m=65536,t=3,p=1$")


def test_the_right_password_fits_and_no_other(passwords):
    stored = passwords.hash("correct horse")
    assert passwords.verify(stored, "correct horse")
    assert not passwords.verify(stored, "correct horsf")
    assert stored != passwords.hash("correct horse")


def test_a_hash_by_another_tool_of_the_standard_form_is_taken(passwords):
    from nacl.pwhash import argon2id

    assert passwords.verify(argon2id.str(b"correct horse", 1, 8192).decode(), "correct horse")


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$v=19$m=8,t=1,p=1$", "é"])
def test_nobody_and_nonsense_are_never_right(passwords, stored):
    assert not passwords.verify(stored, "correct horse")
    assert not passwords.verify(stored, "\ud800")


def test_an_unknown_name_costs_a_whole_hash(passwords, monkeypatch):
    tried = []
    from hub.access import passwords as module

    real = module.nacl.pwhash.argon2id.verify
    monkeypatch.setattr(
        module.nacl.pwhash.argon2id, "verify", lambda stored, given: tried.append(stored) or real(stored, given)
    )
    assert not passwords.verify("", "correct horse")
    assert tried[0].startswith(b"$argon2id$v=19$m=8,t=1,p=1$")


def test_a_hash_of_another_cost_is_outdated(passwords):
    assert not passwords.is_outdated(passwords.hash("correct horse"))
    assert Passwords().is_outdated(passwords.hash("correct horse"))
    assert passwords.is_outdated("")


def test_at_most_so_many_hash_at_once_and_the_rest_is_told_to_come_back():
    slow = Passwords(HashCost(ops=1, memory_bytes=8192), at_once=1, wait_s=0.05)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with slow._slot():
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    started = time.monotonic()
    with pytest.raises(TooMany) as refused:
        slow.hash("correct horse")
    assert refused.value.retry_after_s > 0
    assert time.monotonic() - started < 60
    leave.set()
    holder.join()
    assert slow.verify(slow.hash("correct horse"), "correct horse")


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "Password2026!", "passwordpassword", "qwertyuiop12", "123456789012", "aaaaaaaaaaaa", "P@ssw0rd1234",
        "dragonmonkey12", "1q2w3e4r5t6y", "iloveyou!!!!", "abababababab", "letmein-letmein", "annika-annika", "Annika2026!!",
    ],
)  # fmt: skip
def test_what_everybody_tries_first_is_refused(password):
    with pytest.raises(Invalid) as refused:
        check_new_password(password, "Annika")
    assert refused.value.field == "password"


@pytest.mark.parametrize(
    "password", ["kelp wharf anvil motto", "correct horse battery staple", "tR7#kq9!vLpz", "x" + "überlänge" * 3]
)
def test_words_enough_or_randomness_is_taken(password):
    check_new_password(password, "Annika")


@pytest.mark.parametrize("password", ["short", "x" * 11, "ab" * 129, "valid length \ud800"])
def test_too_short_too_long_or_no_text_is_refused(password):
    with pytest.raises(Invalid):
        check_new_password(password)


def test_the_check_does_not_take_long_on_a_hostile_password():
    assert not is_common("pass" * 15 + "§zzq")
    check_new_password("passwordabc123" * 18 + "zqx")
