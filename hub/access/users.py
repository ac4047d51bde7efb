"""People: made, renamed, given a password, disabled; and the roles they hold. All inside the caller's `write_tx`.

Hashing takes time and memory, so callers hash first and bring the hash into the transaction.
"""

from hub.access.api_keys import revoke_keys_of
from hub.access.names import name_key
from hub.access.sessions import end_sessions_of
from hub.access.setup_codes import use_setup_code
from hub.errors import Conflict, Invalid, NotFound
from hub.permissions import ROLES, RoleName
from hub.states import UserState
from hub.storage.models import Grant, User, now_ms
from hub.storage.seals import RowSeals


def create_user(
    seals: RowSeals,
    name: str,
    now_ms: int,
    *,
    password_hash: str = "",
    display_name: str = "",
    must_change: bool = False,
) -> User:
    """A new person without any role.

    Raises:
        Invalid: the name cannot be one.
        Conflict: somebody has it, in this or another spelling.
    """
    key = name_key(name)
    if User.select().where(User.name_key == key).exists():
        raise Conflict(f"there is a user {name.strip()!r} already", field="name")
    row = User(
        name=name.strip(),
        name_key=key,
        display_name=display_name[:200],
        password_hash=password_hash,
        must_change=must_change,
        created_at=now_ms,
    )
    seals.seal(row)
    row.save(force_insert=True)
    return row


def first_administrator(seals: RowSeals, code: str, name: str, password_hash: str, now_ms: int) -> User:
    """Whoever has the setup code becomes an administrator.

    Raises:
        NotAllowed: the code is unknown, used or expired.
    """
    use_setup_code(code, seals, now_ms)
    user = create_user(seals, name, now_ms, password_hash=password_hash)
    grant_role(seals, user.id, RoleName.SYSTEM_ADMIN, now_ms)
    return user


def find_user(name: str) -> User | None:
    """By name in any spelling; None also for what cannot be a name."""
    try:
        found: User | None = User.get_or_none(User.name_key == name_key(name))
    except Invalid:
        return None
    return found


def user_of(user_id: str) -> User:
    row: User | None = User.get_or_none(User.id == user_id)
    if row is None:
        raise NotFound("there is no such user")
    return row


def set_password(seals: RowSeals, user: User, password_hash: str, *, must_change: bool = False) -> None:
    """A new password ends every session and API key of the person: whoever held one must know it."""
    user.password_hash = password_hash
    user.must_change = must_change
    _save(seals, user)
    end_sessions_of(user.id)
    revoke_keys_of(seals, user.id, now_ms())


def disable_user(seals: RowSeals, user: User, now_ms: int) -> None:
    """Nothing of theirs opens anything from now on; their keys stay revoked even if they are enabled again.

    Raises:
        Conflict: nobody would be left to administer the hub.
    """
    if user.state is UserState.ACTIVE and _is_last_administrator(user.id):
        raise Conflict("this is the last active administrator")
    user.state = UserState.DISABLED
    _save(seals, user)
    end_sessions_of(user.id)
    revoke_keys_of(seals, user.id, now_ms)


def enable_user(seals: RowSeals, user: User) -> None:
    user.state = UserState.ACTIVE
    _save(seals, user)


def grant_role(
    seals: RowSeals, user_id: str, role: str, now_ms: int, *, project: str | None = None, environment: str | None = None
) -> Grant:
    """Give a role, everywhere or in one project, one environment, or one environment of one project.

    Raises:
        Invalid: there is no such role.
        Conflict: they hold it there already.
    """
    if role not in ROLES:
        raise Invalid(f"role {role!r}: expected one of {', '.join(ROLES)}", field="role")
    held = Grant.select().where(Grant.user == user_id, Grant.role == role)
    if any(row.project == project and row.environment == environment for row in held):
        raise Conflict("they hold this role there already", field="role")
    row = Grant(user=user_id, role=str(role), project=project, environment=environment, created_at=now_ms)
    seals.seal(row)
    row.save(force_insert=True)
    return row


def remove_grant(grant: Grant) -> None:
    """Take a role back.

    Raises:
        Conflict: nobody would be left to administer the hub.
    """
    if _gives_all(grant) and _is_last_administrator(grant.user):
        raise Conflict("this is the last active administrator")
    grant.delete_instance()


def _is_last_administrator(user_id: str) -> bool:
    everywhere = Grant.project.is_null() & Grant.environment.is_null() & (Grant.role == str(RoleName.SYSTEM_ADMIN))
    admins = {row.user for row in Grant.select(Grant.user).join(User).where(everywhere, User.state == UserState.ACTIVE)}
    return admins == {user_id}


def _gives_all(grant: Grant) -> bool:
    return bool(grant.role == RoleName.SYSTEM_ADMIN and grant.project is None and grant.environment is None)


def _save(seals: RowSeals, user: User) -> None:
    user.version += 1
    seals.seal(user)
    user.save()
