"""`/users`, `/grants`, `/api-keys`, `/sessions`, `/me`."""

from typing import Annotated

from flask import Response
from pydantic import StringConstraints

from hub.access.passwords import check_new_password
from hub.api import reading
from hub.api.callers import now_ms
from hub.api.declared import Declared
from hub.api.query_string import ListQuery, SearchQuery, Word
from hub.api.route import Call, Resource, answer_of, ask
from hub.operations.access import SetPassword
from hub.operations.body import Body, Line
from hub.operations.catalogue import CATALOGUE
from hub.operations.operation import validated
from hub.permissions import Permission
from hub.queries import access as queries
from hub.queries.access import ApiKeyView, GrantView, MeView, SessionView, UserView
from hub.queries.listing import Page

USERS = Resource("users")
GRANTS = Resource("grants")
API_KEYS = Resource("api-keys")
SESSIONS = Resource("sessions")
ME = Resource("me")

_OWN = Declared(own=True)
Password = Annotated[str, StringConstraints(max_length=256)]


class UserQuery(ListQuery):
    user: Word = ""


class NewUser(Body):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    display_name: Line = ""
    password: Password | None = None
    must_change: bool = False


class NewPassword(Body):
    password: Password
    must_change: bool = False


@USERS.get("/users", Page[UserView], Permission.USER_VIEW, "All users", query=SearchQuery)
def list_users(call: Call) -> Page[UserView]:
    return queries.all_users(call.query.slice, call.query.q)


@USERS.get("/users/<user>", UserView, Permission.USER_VIEW, "One user")
def show_user(_: Call, user: str) -> UserView:
    return queries.user_view(queries.user_row(user))


@USERS.post("/users", UserView, Permission.USER_EDIT, "Add a person", status=201, body=NewUser)
def create_user(call: Call) -> Response:
    wanted = validated(NewUser, reading.json_body(call.parts.limits.json_bytes))
    hashed = _hashed(call, wanted.password, wanted.name) if wanted.password is not None else None
    request = {
        "name": wanted.name,
        "display_name": wanted.display_name,
        "password_hash": hashed,
        "must_change": wanted.must_change,
    }
    return answer_of(ask(call.parts, CATALOGUE["user.create"], request), "/users")


@USERS.post("/users/<user>/password", UserView, _OWN, "Set a password", body=NewPassword)
def set_password(call: Call, user: str) -> Response:
    wanted = validated(NewPassword, reading.json_body(call.parts.limits.json_bytes))
    request = {
        "user": user,
        "password_hash": _hashed(call, wanted.password, user),
        "must_change": wanted.must_change,
    }
    validated(SetPassword, request)
    return answer_of(ask(call.parts, CATALOGUE["user.password"], request), "/users")


USERS.change("PUT", "/users/<user>", "user.update")
USERS.change("POST", "/users/<user>/disable", "user.disable")
USERS.change("POST", "/users/<user>/enable", "user.enable")


@GRANTS.get("/grants", Page[GrantView], Permission.USER_VIEW, "Who holds which role where", query=UserQuery)
def list_grants(call: Call) -> Page[GrantView]:
    return queries.grants(call.query.slice, call.query.user)


GRANTS.change("POST", "/grants", "grant.create")
GRANTS.change("DELETE", "/grants/<grant>", "grant.delete")


@API_KEYS.get("/api-keys", Page[ApiKeyView], _OWN, "One's own API keys; all, for who may edit them", query=UserQuery)
def list_keys(call: Call) -> Page[ApiKeyView]:
    return queries.api_keys(call.caller, call.query.slice, call.query.user)


API_KEYS.change("POST", "/api-keys", "api-key.create")
API_KEYS.change("DELETE", "/api-keys/<api_key>", "api-key.revoke")


@SESSIONS.get("/sessions", Page[SessionView], _OWN, "One's own sessions")
def list_sessions(call: Call) -> Page[SessionView]:
    return queries.own_sessions(call.caller, now_ms())


SESSIONS.change("DELETE", "/sessions/<session>", "session.revoke")


@ME.get("/me", MeView, _OWN, "Who am I, and what may I do")
def me(call: Call) -> MeView:
    return queries.me(call.caller)


def _hashed(call: Call, password: str, name: str) -> str:
    check_new_password(password, name)
    return call.parts.passwords.hash(password)
