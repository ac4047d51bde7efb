"""Who asks: a person by the credential in hand, with the rights of this very moment."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.errors import NotAllowed, NotSignedIn, StepUpNeeded
from hub.permissions import HeldGrant, Permission, environments_where, may, projects_where
from hub.states import UserState
from hub.storage.models import ApiKey, Grant, Session, User
from hub.storage.prepared import PreparedRows, hole
from hub.storage.seals import RowSeals
from wire.messages import Credential, CredentialKind

# A session proves its password again for what hands out power; the proof holds this long.
STEP_UP_MS = 15 * 60 * 1000
SESSION_IDLE_MS = 30 * 60 * 1000

_KEY = PreparedRows(ApiKey, lambda: ApiKey.select().where(ApiKey.id == hole("id")))
_SESSION = PreparedRows(Session, lambda: Session.select().where(Session.id_sha256 == hole("id")))
_USER = PreparedRows(User, lambda: User.select().where(User.id == hole("id")))
_GRANTS = PreparedRows(Grant, lambda: Grant.select().where(Grant.user == hole("user")))


@dataclass(frozen=True, slots=True)
class Caller:
    """`scopes`: the permissions that an API key is limited to; None: all of its owner's."""

    user_id: str
    name: str
    grants: tuple[HeldGrant, ...]
    scopes: frozenset[str] | None
    credential: Credential
    proved_at: int | None = None

    def may(self, permission: Permission, project: str | None = None, environment: str | None = None) -> bool:
        return may(self.grants, permission, project, environment, self.scopes)

    def may_somewhere(self, permission: Permission) -> bool:
        """The first fence: whether there is any project and environment at all where it holds."""
        return self.projects_with(permission) != frozenset()

    def projects_with(self, permission: Permission) -> frozenset[str] | None:
        """Ids, for the filter of a list; None: all."""
        return projects_where(self.grants, permission, self.scopes)

    def environments_with(self, permission: Permission, project: str | None) -> frozenset[str] | None:
        return environments_where(self.grants, permission, project, self.scopes)

    def sees_project(self, project: str) -> bool:
        visible = self.projects_with(Permission.PROJECT_VIEW)
        return visible is None or project in visible

    def require_step_up(self, now_ms: int) -> None:
        """An API key was made with its scopes on purpose; a session may have been left open.

        Raises:
            StepUpNeeded: the password was proved too long ago.
        """
        if self.credential.kind is not CredentialKind.SESSION:
            return
        if self.proved_at is None or now_ms - self.proved_at > STEP_UP_MS:
            raise StepUpNeeded("sign in again to confirm this: it hands out trust or rights")


def caller_of(credential: Credential, now_ms: int, seals: RowSeals) -> Caller:
    """The caller behind a credential that somebody has verified, joined with the live state of its owner.

    Raises:
        NotSignedIn: revoked, expired or of a disabled person; one text for all.
    """
    if credential.kind is CredentialKind.API_KEY:
        return _by_key(credential, now_ms, seals)
    if credential.kind is CredentialKind.SESSION:
        return _by_session(credential, now_ms, seals)
    raise NotAllowed("this credential counts beside the database only")


def caller_of_key(key: ApiKey, seals: RowSeals) -> Caller:
    """The caller behind the row of a live API key, whose seal holds.

    Raises:
        NotSignedIn: its owner is disabled.
    """
    scopes = None if key.scopes is None else frozenset(key.scopes)
    return _live(key.user, scopes, Credential(CredentialKind.API_KEY, key.id), seals, None)


def api_key_row(key_id: str) -> ApiKey | None:
    """As it stands in the table, its seal not looked at."""
    return _KEY.one(id=key_id)


def user_row(user_id: str) -> User | None:
    """Alike."""
    return _USER.one(id=user_id)


def _by_key(credential: Credential, now_ms: int, seals: RowSeals) -> Caller:
    key = api_key_row(credential.id)
    if key is None or key.revoked_at is not None or now_ms >= key.expires_at:
        raise NotSignedIn("the API key is unknown, revoked or expired")
    seals.check(key)
    return caller_of_key(key, seals)


def _by_session(credential: Credential, now_ms: int, seals: RowSeals) -> Caller:
    session = _SESSION.one(id=credential.id)
    if session is None or now_ms >= session.expires_at or now_ms >= session.seen_at + SESSION_IDLE_MS:
        raise NotSignedIn("the session is over")
    return _live(session.user, None, credential, seals, session.reauthenticated_at)


def _live(
    user_id: str, scopes: frozenset[str] | None, credential: Credential, seals: RowSeals, proved_at: int | None
) -> Caller:
    user = user_row(user_id)
    if user is None or user.state is not UserState.ACTIVE:
        raise NotSignedIn("the account is disabled")
    seals.check(user)
    return Caller(user.id, user.name, _grants(user.id, seals), scopes, credential, proved_at)


def _grants(user_id: str, seals: RowSeals) -> tuple[HeldGrant, ...]:
    rows: Sequence[Grant] = _GRANTS.all(user=user_id)
    for row in rows:
        seals.check(row)
    return tuple(rows)
