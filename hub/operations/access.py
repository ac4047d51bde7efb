"""People, roles, API keys and sessions, as operations.

Nobody hands out more than he has: a grant must lie within the grants of who gives it, a key within its owner's scopes.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from hub.access import api_keys, sessions, users
from hub.errors import NotAllowed, NotFound
from hub.operations.body import Body, IfVersion, Line, Nothing, Ref, Reply
from hub.operations.context import Context
from hub.operations.operation import Done, JsonObject, Operation, Scope, require
from hub.operations.sealed_values import Path
from hub.permissions import Permission, is_within
from hub.projects import finding
from hub.queries.access import ApiKeyView, GrantView, UserView, grant_view, key_view, session_ref, user_row, user_view
from hub.storage.models import ApiKey, Grant, Session
from wire.messages import CredentialKind

_DAY_MS = 24 * 3600 * 1000

PasswordHash = Annotated[str, StringConstraints(max_length=200, pattern=r"^\$argon2id\$[!-~]+$")]
UserName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class CreateUser(Body):
    """`password_hash` is made by the portal: hashing takes longer than a transaction may."""

    name: UserName
    display_name: Line = ""
    password_hash: PasswordHash | None = None
    must_change: bool = False


class UpdateUser(Body):
    user: Ref
    display_name: Line
    if_version: IfVersion


class OfUser(Body):
    user: Ref


class SetPassword(Body):
    user: Ref
    password_hash: PasswordHash | None
    must_change: bool = False


class CreateGrant(Body):
    user: Ref
    role: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    project: Ref | None = None
    environment: Ref | None = None


class OfGrant(Body):
    grant: Ref


class CreateApiKey(Body):
    """`user`: one's own unless given; for somebody else it takes the right to edit keys."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    scopes: Annotated[list[str], Field(max_length=100)] | None = None
    days: Annotated[int, Field(ge=1, le=366)] = 90
    user: Ref | None = None


class OfApiKey(Body):
    api_key: Ref


class OfSession(Body):
    session: Ref


class ApiKeyCreated(Reply):
    """`key` is shown here and never again."""

    id: str
    key: str
    api_key: ApiKeyView


def password_path(_: JsonObject) -> list[Path]:
    return [("password_hash",)]


def _create_user(context: Context, body: CreateUser) -> Done:
    row = users.create_user(
        context.seals,
        body.name,
        context.now_ms,
        password_hash=body.password_hash or "",
        display_name=body.display_name,
        must_change=body.must_change,
    )
    return Done(user_view(row), f"user:{row.id}", detail={"name": row.name})


def _update_user(context: Context, body: UpdateUser) -> Done:
    row = user_row(body.user)
    finding.check_version(row, body.if_version)
    row.display_name = body.display_name
    row.version += 1
    context.seals.seal(row)
    row.save()
    return Done(user_view(row), f"user:{row.id}")


def _disable_user(context: Context, body: OfUser) -> Done:
    row = user_row(body.user)
    users.disable_user(context.seals, row, context.now_ms)
    return Done(user_view(row), f"user:{row.id}")


def _enable_user(context: Context, body: OfUser) -> Done:
    row = user_row(body.user)
    users.enable_user(context.seals, row)
    return Done(user_view(row), f"user:{row.id}")


def _set_password(context: Context, body: SetPassword) -> Done:
    row = user_row(body.user)
    # A key that leaked must not become its owner's password.
    own = row.id == context.caller.user_id and context.caller.credential.kind is not CredentialKind.API_KEY
    if not own:
        require(context.caller, Permission.USER_EDIT, Scope())
    users.set_password(context.seals, row, body.password_hash or "", must_change=body.must_change)
    return Done(user_view(row), f"user:{row.id}")


def _grant_ids(body: CreateGrant) -> tuple[str | None, str | None]:
    project = finding.project(body.project, "project").id if body.project else None
    return project, finding.environment(body.environment, "environment").id if body.environment else None


def _create_grant(context: Context, body: CreateGrant) -> Done:
    project, environment = _grant_ids(body)
    if context.caller.scopes is not None or not is_within(context.caller.grants, body.role, project, environment):
        raise NotAllowed("nobody hands out a role that reaches further than his own", field="role")
    row = users.grant_role(
        context.seals, user_row(body.user).id, body.role, context.now_ms, project=project, environment=environment
    )
    detail = {"user": row.user, "role": row.role}
    return Done(grant_view(row), f"grant:{row.id}", project=project, environment=environment, detail=detail)


def _delete_grant(_: Context, body: OfGrant) -> Done:
    row: Grant = finding.find(Grant, body.grant, "grant", names=())
    users.remove_grant(row)
    detail = {"user": row.user, "role": row.role}
    return Done(Nothing(), f"grant:{row.id}", project=row.project, environment=row.environment, detail=detail)


def _create_key(context: Context, body: CreateApiKey) -> Done:
    owner = user_row(body.user or context.caller.user_id)
    if owner.id != context.caller.user_id:
        require(context.caller, Permission.API_KEY_EDIT, Scope())
    held = context.caller.scopes
    if held is not None and (body.scopes is None or not set(body.scopes) <= held):
        raise NotAllowed("a key makes no key with more scopes than its own", field="scopes")
    row, text = api_keys.new_api_key(
        context.seals,
        owner,
        body.name,
        context.now_ms,
        expires_at=context.now_ms + body.days * _DAY_MS,
        scopes=body.scopes,
    )
    detail = {"user": owner.id, "name": row.name, "scopes": row.scopes, "expires_at": row.expires_at}
    return Done(ApiKeyCreated(id=row.id, key=text.reveal(), api_key=key_view(row)), f"api-key:{row.id}", detail=detail)


def _revoke_key(context: Context, body: OfApiKey) -> Done:
    row = ApiKey.get_or_none(ApiKey.id == body.api_key)
    own = row is not None and row.user == context.caller.user_id
    if row is None or not (own or context.caller.may(Permission.API_KEY_EDIT)):
        raise NotFound(f"no API key {body.api_key!r}")
    api_keys.revoke_api_key(context.seals, row, context.now_ms)
    return Done(Nothing(), f"api-key:{row.id}", detail={"user": row.user})


def _revoke_session(context: Context, body: OfSession) -> Done:
    theirs = Session.select().where(Session.user == context.caller.user_id)
    row = next((found for found in theirs if session_ref(found) == body.session), None)
    if row is None:
        raise NotFound(f"no session {body.session!r} of yours")
    sessions.end_session(row.id_sha256)
    return Done(Nothing(), f"user:{context.caller.user_id}", detail={"session": session_ref(row)})


OPERATIONS = (
    Operation(
        "user.create",
        "Add a person",
        CreateUser,
        UserView,
        Permission.USER_EDIT,
        _create_user,
        status=201,
        step_up=True,
        secrets=password_path,
    ),
    Operation("user.update", "Change a person", UpdateUser, UserView, Permission.USER_EDIT, _update_user),
    Operation(
        "user.disable",
        "Lock a person out, with all keys and sessions",
        OfUser,
        UserView,
        Permission.USER_EDIT,
        _disable_user,
    ),
    Operation(
        "user.enable", "Let a person in again", OfUser, UserView, Permission.USER_EDIT, _enable_user, step_up=True
    ),
    Operation(
        "user.password",
        "Set a password: one's own, or anybody's with the right to edit users",
        SetPassword,
        UserView,
        None,
        _set_password,
        step_up=True,
        secrets=password_path,
    ),
    Operation(
        "grant.create",
        "Give a person a role",
        CreateGrant,
        GrantView,
        Permission.GRANT_EDIT,
        _create_grant,
        status=201,
        step_up=True,
    ),
    Operation(
        "grant.delete",
        "Take a role back",
        OfGrant,
        Nothing,
        Permission.GRANT_EDIT,
        _delete_grant,
        status=204,
    ),
    Operation(
        "api-key.create",
        "Make an API key; it is shown once",
        CreateApiKey,
        ApiKeyCreated,
        None,
        _create_key,
        status=201,
        step_up=True,
    ),
    Operation("api-key.revoke", "Make an API key useless", OfApiKey, Nothing, None, _revoke_key, status=204),
    Operation("session.revoke", "End one of one's own sessions", OfSession, Nothing, None, _revoke_session, status=204),
)
