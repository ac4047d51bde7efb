"""Signing in with name and password: limited, one answer and one amount of work for every failure, on the record."""

from dataclasses import dataclass

from hub.access import rate_limits
from hub.access.passwords import Passwords
from hub.access.sessions import new_session
from hub.access.users import find_user
from hub.errors import NotSignedIn
from hub.events.record import record
from hub.states import UserState
from hub.storage.database import write_tx
from hub.storage.models import User
from hub.storage.seals import RowSeals
from wire.secret import Secret


@dataclass(frozen=True, slots=True)
class SignedIn:
    user: User
    token: Secret


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where an attempt comes from."""

    address: str
    agent: str = ""


def sign_in(passwords: Passwords, seals: RowSeals, name: str, password: str, visitor: Visitor, now_ms: int) -> SignedIn:
    """A session for whoever knows the password.

    Raises:
        NotSignedIn: unknown name, wrong password, disabled; one text for all.
        TooMany: too many attempts, by this visitor or on this account.
    """
    user = prove(passwords, seals, name, password, visitor, now_ms)
    with write_tx():
        token = new_session(user.id, now_ms, address=visitor.address, agent=visitor.agent)
        record("session.create", f"user:{user.id}", actor=f"user:{user.id}", detail={"address": visitor.address})
    return SignedIn(user, token)


def prove(passwords: Passwords, seals: RowSeals, name: str, password: str, visitor: Visitor, now_ms: int) -> User:
    """The user behind name and password, for signing in and for proving again; raises as `sign_in`."""
    for key, rate in rate_limits.sign_in_keys(name, visitor.address):
        rate_limits.take(key, rate, now_ms)
    user = find_user(name)
    if user is not None:
        seals.check(user)
    # An unknown name costs a hash like a known one, so time does not tell them apart.
    right = passwords.verify(user.password_hash if user is not None else "", password)
    account = rate_limits.account_key(name)
    if user is None or not right or user.state is not UserState.ACTIVE:
        rate_limits.failed(account, rate_limits.BY_ACCOUNT, now_ms)
        with write_tx():
            actor = f"user:{user.id}" if user is not None else "nobody"
            record("session.create", account, actor=actor, outcome="refused", detail={"address": visitor.address})
        raise NotSignedIn("name or password is wrong")
    rate_limits.succeeded(account)
    return user
