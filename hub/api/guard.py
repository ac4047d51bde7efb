"""Before any view: who calls, and may he at all? Whatever fails in here denies."""

from flask import Flask, g, request

from hub.access.caller import Caller
from hub.api.callers import caller_from
from hub.api.declared import declared_of
from hub.api.parts import ApiParts
from hub.errors import NotAllowed, NotSignedIn
from hub.storage.database import connection

API_PREFIXES = ("/api/", "/readyz", "/metrics", "/healthz")


def install(app: Flask, parts: ApiParts) -> None:
    """Guard the API's addresses; the pages of a portal are guarded by its own sign-in."""

    def guard() -> None:
        if request.path.startswith(API_PREFIXES):
            admit(app, parts)

    app.before_request(guard)


def admit(app: Flask, parts: ApiParts) -> None:
    """Let the request through to its view, or raise.

    Raises:
        NotSignedIn, NotAllowed, TooMany, Invalid.
    """
    if request.endpoint is None:
        return
    declared = declared_of(app.view_functions.get(request.endpoint))
    if declared is None:
        raise NotAllowed("this view declares nothing and is closed")
    if declared.is_public:
        return
    with connection():
        caller = caller_from(request, parts.seals, parts.session_caller)
    if caller is None:
        raise NotSignedIn("this needs an API key: Authorization: Bearer mak_…")
    parts.rate_limit.take(f"{caller.credential.kind}:{caller.credential.id}")
    if declared.permission is not None and not caller.may_somewhere(declared.permission):
        raise NotAllowed(f"this needs the permission {declared.permission}")
    g.caller = caller


def present_caller() -> Caller:
    """The caller of this request, whom `admit` has let in."""
    caller = g.get("caller")
    if not isinstance(caller, Caller):
        raise NotSignedIn("nobody is signed in")
    return caller
