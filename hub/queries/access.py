"""People, their roles, their keys and sessions: never a hash, never a key."""

from hub.access import sessions, users
from hub.access.caller import Caller
from hub.errors import NotFound
from hub.operations.body import Reply, is_id
from hub.permissions import Permission
from hub.queries.listing import Order, Page, Slice, at_text, page, time_text
from hub.states import UserState
from hub.storage.models import ApiKey, Environment, Grant, Project, Session, User
from wire.messages import CredentialKind


class UserView(Reply):
    id: str
    name: str
    display_name: str
    active: bool
    must_change: bool
    created_at: str
    version: int


class GrantView(Reply):
    """`project` and `environment` are names; null: everywhere."""

    id: str
    user: str
    role: str
    project: str | None
    environment: str | None


class ApiKeyView(Reply):
    """`scopes` null: all that the owner may."""

    id: str
    user: str
    name: str
    scopes: list[str] | None
    created_at: str
    expires_at: str
    used_at: str | None
    revoked_at: str | None


class SessionView(Reply):
    """`id` is half of the stored hash: enough to end the session, nothing to use it."""

    id: str
    created_at: str
    seen_at: str
    expires_at: str
    address: str
    agent: str
    present: bool


class MeView(Reply):
    id: str
    name: str
    credential: str
    scopes: list[str] | None
    grants: list[GrantView]
    permissions: list[str]


def user_view(row: User) -> UserView:
    return UserView(
        id=row.id,
        name=row.name,
        display_name=row.display_name,
        active=row.state is UserState.ACTIVE,
        must_change=row.must_change,
        created_at=time_text(row.created_at),
        version=row.version,
    )


def grant_view(row: Grant) -> GrantView:
    project = Project.get_or_none(Project.id == row.project)
    environment = Environment.get_or_none(Environment.id == row.environment)
    return GrantView(
        id=row.id,
        user=User.get_by_id(row.user).name,
        role=row.role,
        project=project.name if project else None,
        environment=environment.name if environment else None,
    )


def key_view(row: ApiKey) -> ApiKeyView:
    return ApiKeyView(
        id=row.id,
        user=User.get_by_id(row.user).name,
        name=row.name,
        scopes=row.scopes,
        created_at=time_text(row.created_at),
        expires_at=time_text(row.expires_at),
        used_at=at_text(row.used_at),
        revoked_at=at_text(row.revoked_at),
    )


def user_row(ref: str) -> User:
    """By id, or by name in any spelling."""
    row = User.get_or_none(User.id == ref) if is_id(ref) else users.find_user(ref)
    if row is None:
        raise NotFound(f"no user {ref!r}")
    return row


def all_users(part: Slice, q: str = "") -> Page[UserView]:
    query = User.select()
    if q:
        query = query.where(User.name.contains(q))
    return page(query, Order(User.name, User.id), part, user_view)


def grants(part: Slice, user: str = "") -> Page[GrantView]:
    query = Grant.select()
    if user:
        query = query.where(Grant.user == user_row(user).id)
    return page(query, Order(Grant.created_at, Grant.id), part, grant_view)


def api_keys(caller: Caller, part: Slice, user: str = "") -> Page[ApiKeyView]:
    """One's own; everybody's only for whoever may edit them."""
    query = ApiKey.select()
    if not caller.may(Permission.API_KEY_EDIT):
        query = query.where(ApiKey.user == caller.user_id)
    if user:
        query = query.where(ApiKey.user == user_row(user).id)
    return page(query, Order(ApiKey.created_at, ApiKey.id, newest_first=True), part, key_view)


def own_sessions(caller: Caller, now_ms: int) -> Page[SessionView]:
    return Page(items=[_session_view(row, caller) for row in sessions.sessions_of(caller.user_id, now_ms)])


def me(caller: Caller) -> MeView:
    rows = list(Grant.select().where(Grant.user == caller.user_id))
    return MeView(
        id=caller.user_id,
        name=caller.name,
        credential=str(caller.credential.kind),
        scopes=sorted(caller.scopes) if caller.scopes is not None else None,
        grants=[grant_view(row) for row in rows],
        permissions=sorted(str(found) for found in Permission if caller.may_somewhere(found)),
    )


def session_ref(row: Session) -> str:
    return str(row.id_sha256[:32])


def _session_view(row: Session, caller: Caller) -> SessionView:
    present = caller.credential.kind is CredentialKind.SESSION and caller.credential.id == row.id_sha256
    return SessionView(
        id=session_ref(row),
        created_at=time_text(row.created_at),
        seen_at=time_text(row.seen_at),
        expires_at=time_text(row.expires_at),
        address=row.address,
        agent=row.agent,
        present=present,
    )
