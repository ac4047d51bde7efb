"""Browser sessions as rows: the cookie holds 32 random bytes, the row their hash, and neither any right.

A session ends 30 minutes after its last request and 12 hours after its first, at sign-out, at a new password, and when
the person is disabled. Its id changes whenever what it may do changes.
"""

import base64
import hashlib
import os

from hub.access.caller import SESSION_IDLE_MS
from hub.errors import NotSignedIn
from hub.states import UserState
from hub.storage.database import write_tx
from hub.storage.models import Session, User
from wire.secret import Secret

LIFETIME_MS = 12 * 60 * 60 * 1000
# The row is touched once a minute at most: a page with ten requests writes once.
TOUCH_MS = 60_000

_TOKEN_BYTES = 32


def new_session(user_id: str, now_ms: int, *, address: str = "", agent: str = "", proved: bool = True) -> Secret:
    """Make a session; inside `write_tx`.

    Args:
        user_id: Whose.
        now_ms: UTC milliseconds.
        address: Shown to the person in the list of sessions.
        agent: Alike.
        proved: Whether the password was given just now.

    Returns:
        The cookie's value; only its hash is stored.
    """
    token = Secret(base64.urlsafe_b64encode(os.urandom(_TOKEN_BYTES)).decode("ascii").rstrip("="))
    Session.create(
        id_sha256=session_id(token.reveal()),
        user=user_id,
        created_at=now_ms,
        seen_at=now_ms,
        expires_at=now_ms + LIFETIME_MS,
        reauthenticated_at=now_ms if proved else None,
        address=address[:64],
        agent=agent[:200],
    )
    return token


def find_session(token: str, now_ms: int) -> Session:
    """The live session of a cookie's value; it is now seen.

    Raises:
        NotSignedIn: there is none, it is over, or the person is disabled; one text for all.
    """
    row: Session | None = Session.get_or_none(Session.id_sha256 == session_id(token))
    if row is None or is_over(row, now_ms) or not _is_active(row.user):
        raise NotSignedIn("sign in: the session is over")
    if now_ms - row.seen_at >= TOUCH_MS:
        with write_tx():
            Session.update(seen_at=now_ms).where(Session.id_sha256 == row.id_sha256).execute()
    return row


def is_over(row: Session, now_ms: int) -> bool:
    return bool(now_ms >= row.expires_at or now_ms >= row.seen_at + SESSION_IDLE_MS)


def replace_session(token: str, now_ms: int, *, proved: bool = False) -> Secret:
    """The same session under a new id, for a changed privilege or a password given again; inside `write_tx`.

    The end of its life stays where it was.
    """
    old = find_session(token, now_ms)
    fresh = new_session(old.user, now_ms, address=old.address, agent=old.agent, proved=proved)
    kept = {"created_at": old.created_at, "expires_at": old.expires_at}
    if not proved:
        kept["reauthenticated_at"] = old.reauthenticated_at
    Session.update(kept).where(Session.id_sha256 == session_id(fresh.reveal())).execute()
    end_session(old.id_sha256)
    return fresh


def end_session(id_sha256: str) -> bool:
    """Inside `write_tx`; False if it had ended already."""
    return bool(Session.delete().where(Session.id_sha256 == id_sha256).execute())


def end_sessions_of(user_id: str, *, but: str | None = None) -> int:
    """End all of a person's sessions but one; inside `write_tx`."""
    theirs = Session.user == user_id
    return int(Session.delete().where(theirs if but is None else theirs & (Session.id_sha256 != but)).execute())


def sessions_of(user_id: str, now_ms: int) -> list[Session]:
    """A person's live sessions, newest first."""
    rows = Session.select().where(Session.user == user_id).order_by(Session.created_at.desc())
    return [row for row in rows if not is_over(row, now_ms)]


def remove_ended(now_ms: int) -> int:
    """Drop rows that are over; inside `write_tx`."""
    over = (Session.expires_at <= now_ms) | (Session.seen_at <= now_ms - SESSION_IDLE_MS)
    return int(Session.delete().where(over).execute())


def _is_active(user_id: str) -> bool:
    return bool(User.select().where(User.id == user_id, User.state == UserState.ACTIVE).exists())


def session_id(token: str) -> str:
    """The row's key for a cookie's value."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def csrf_token(token: str) -> str:
    """What forms and scripts of this session send along; it tells nothing about the cookie."""
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32, person=b"manyarm-csrf").digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
