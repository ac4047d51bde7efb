"""What slows guessing down: token buckets as rows, so that a restart or a second process forgets nothing.

Each wrong guess makes the next one wait longer; nobody is locked out for good, so nobody can lock another one out.
"""

from dataclasses import dataclass

from hub.access.names import address_key, name_key
from hub.errors import Invalid, TooMany
from hub.storage.database import is_postgres, write_tx
from hub.storage.models import RateBucket

FREE_FAILURES = 4
LONGEST_WAIT_MS = 15 * 60 * 1000
FORGOTTEN_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_minute`."""

    per_minute: float
    burst: float


BY_ADDRESS = Rate(per_minute=30, burst=30)
BY_ACCOUNT = Rate(per_minute=10, burst=10)
BY_ALL = Rate(per_minute=600, burst=300)


def take(key: str, rate: Rate, now_ms: int, *, cost: float = 1.0) -> None:
    """Use up a token of a bucket.

    Raises:
        TooMany: it is empty, or the key waits out its failures.
    """
    with write_tx():
        bucket = _locked(key, rate, now_ms)
        if bucket.blocked_until > now_ms:
            raise _too_many(bucket.blocked_until - now_ms)
        elapsed_ms = max(0, now_ms - bucket.updated_at)
        tokens = min(rate.burst, bucket.tokens + elapsed_ms * rate.per_minute / 60_000)
        if tokens < cost:
            raise _too_many((cost - tokens) * 60_000 / rate.per_minute)
        _store(key, tokens=tokens - cost, updated_at=now_ms)


def failed(key: str, rate: Rate, now_ms: int) -> None:
    """Count a wrong guess: after the fourth in a row each doubles the wait."""
    with write_tx():
        failures = _locked(key, rate, now_ms).failures + 1
        wait_ms = min(LONGEST_WAIT_MS, 1000 * 2 ** min(failures - FREE_FAILURES, 20)) if failures > FREE_FAILURES else 0
        _store(key, failures=failures, blocked_until=now_ms + wait_ms)


def succeeded(key: str) -> None:
    """Forget the wrong guesses."""
    with write_tx():
        _store(key, failures=0, blocked_until=0)


def sign_in_keys(name: str, address: str) -> list[tuple[str, Rate]]:
    """The buckets that one attempt to sign in draws from."""
    return [("all", BY_ALL), (f"address:{address_key(address)}", BY_ADDRESS), (account_key(name), BY_ACCOUNT)]


def account_key(name: str) -> str:
    """The bucket of a name, known or not; what cannot be a name shares one."""
    try:
        return f"account:{name_key(name)}"
    except Invalid:
        return "account:"


def remove_forgotten(now_ms: int) -> int:
    """Drop buckets that are full again; inside `write_tx`."""
    return int(RateBucket.delete().where(RateBucket.updated_at < now_ms - FORGOTTEN_MS).execute())


def _locked(key: str, rate: Rate, now_ms: int) -> RateBucket:
    fresh = {"key": key, "tokens": rate.burst, "updated_at": now_ms, "failures": 0, "blocked_until": 0}
    RateBucket.insert(fresh).on_conflict_ignore().execute()
    query = RateBucket.select().where(RateBucket.key == key)
    row: RateBucket = (query.for_update() if is_postgres() else query).get()
    return row


def _store(key: str, **changes: float) -> None:
    RateBucket.update(changes).where(RateBucket.key == key).execute()


def _too_many(wait_ms: float) -> TooMany:
    wait_s = max(1.0, wait_ms / 1000)
    return TooMany(f"too many attempts: try again in {wait_s:.0f} s", retry_after_s=wait_s)
