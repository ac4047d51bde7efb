"""The portal: the API and the pages of people as one application; every page says what permission it needs."""

import logging
from http import HTTPStatus
from pathlib import Path

from flask import Flask, Response, current_app, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed, SecurityError

from hub.api.app import mount
from hub.api.declared import declared_of, public, refuse_undeclared
from hub.api.guard import API_PREFIXES
from hub.api.problems import DATABASE_AWAY
from hub.errors import HubError, NotAllowed, NotSignedIn, StepUpNeeded, TooMany, Unavailable
from hub.storage.database import connection, database_is_away
from portal import filters, forms, login
from portal.navigation import entries
from portal.pages import ALL_PAGES
from portal.parts import PortalParts

logger = logging.getLogger(__name__)

_STATIC_AGE_S = 3600


def create_app(parts: PortalParts) -> Flask:
    """Pages, API, health and metrics.

    Raises:
        Undeclared: a view declares neither a permission nor why it is public.
    """
    app = Flask("portal", root_path=str(Path(__file__).parent))
    app.config["TRUSTED_HOSTS"] = list(parts.hosts)
    app.config["SESSION_COOKIE_SECURE"] = True
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.extensions["manyarm"] = parts
    # Flask's own session is never used: ours is a row, and nothing is signed into a cookie.
    app.session_interface = login.NoSession()
    # First, so that whatever is refused has its number and its headers already.
    mount(app, parts.api, page_error=_page_error)
    filters.install(app)
    forms.install(app)
    login.install(app)
    app.before_request(_let_in)
    app.context_processor(_frame)
    for pages in ALL_PAGES:
        app.register_blueprint(pages)
    app.view_functions["static"] = public(reason="the portal's own style and scripts")(app.view_functions["static"])
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = _STATIC_AGE_S
    refuse_undeclared(app)
    return app


def _let_in() -> ResponseReturnValue | None:
    """Before any page: who is it, and may they at all? API addresses have their own guard."""
    if request.path.startswith(API_PREFIXES) or request.endpoint is None:
        return None
    declared = declared_of(current_app.view_functions.get(request.endpoint))
    if declared is None:
        raise NotAllowed("this page declares nothing and is closed")
    if declared.is_public:
        return None
    with connection():
        caller = login.present_session_caller()
    if caller is None:
        raise NotSignedIn("sign in first")
    if declared.permission is not None and not caller.may_somewhere(declared.permission):
        raise NotAllowed(f"this needs the permission {declared.permission}")
    g.caller = caller
    return None


def _frame() -> dict[str, object]:
    caller = g.get("caller")
    return {
        "caller": caller,
        "navigation": entries(caller) if caller else (),
        "notices": forms.notices(),
        "back": forms.came_from() if caller else "",
    }


def _page_error(error: Exception) -> ResponseReturnValue:
    if database_is_away(error):
        error = Unavailable(DATABASE_AWAY)
    if isinstance(error, NotSignedIn):
        return redirect(url_for("login.show", next=forms.came_from()), 303)
    if isinstance(error, StepUpNeeded):
        return redirect(url_for("login.prove_again", next=forms.came_from()), 303)
    if isinstance(error, HubError):
        return _words(error.status, filters.sentence(error.detail), error)
    if isinstance(error, SecurityError):
        # Under a name that is not ours no address can be built, so no page either.
        return Response("This hub does not answer to that name.\n", 400, content_type="text/plain; charset=utf-8")
    if isinstance(error, HTTPException):
        return _words(error.code or 500, _WORDS.get(error.code or 500, "This cannot be answered."), error)
    reference = g.get("request_id", "")
    logger.error("page failed", exc_info=error, extra={"ref": reference, "path": request.path})
    return _words(500, f"Something went wrong on our side. The hub's log has it under {reference}.")


_WORDS = {
    400: "The request is not one that a browser of yours would make.",
    404: "There is no such page.",
    405: "This page does not take that kind of request.",
    413: "That is larger than this form takes.",
}


def _words(status: int, words: str, error: Exception | None = None) -> ResponseReturnValue:
    page = render_template("words.html", status=status, title=HTTPStatus(status).phrase, words=words)
    response = Response(page, status, content_type="text/html; charset=utf-8")
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response
