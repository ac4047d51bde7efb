"""A page's way to change something: the operation is asked for in the name of the person, and its answer comes back."""

from typing import Any

from flask import g

from hub.access.caller import Caller
from hub.errors import Conflict, HubError, StepUpNeeded
from hub.operations.asking import Answer
from hub.operations.catalogue import CATALOGUE
from hub.storage.database import connection
from portal import forms
from portal.parts import portal_parts


class Refused(HubError):
    """The engine said no; `detail` has its sentence."""


class StillAsked(HubError):
    """The engine has the request and has not come to it yet."""

    status = 202


def change(operation: str, wanted: dict[str, Any], *, by: Caller | None = None) -> dict[str, Any]:
    """Ask for an operation in the name of whoever is signed in, or of `by`; returns its reply.

    Raises:
        Refused: It was refused.
        StillAsked: The engine is busy or away; it will do it.
        StepUpNeeded: The password has to be given once more first.
    """
    answer = _asked(operation, wanted, by or g.caller, forms.once())
    if answer.status >= 400:
        _refuse(answer.status, answer.body)
    if answer.status == 202 and not answer.body:
        raise StillAsked("the engine is away; your request is kept and done as soon as it is back")
    return answer.body


def _asked(operation: str, wanted: dict[str, Any], caller: Caller, key: str) -> Answer:
    api = portal_parts().api
    try:
        with connection():
            return api.asking.ask(
                CATALOGUE[operation], wanted, caller, idempotency_key=key, wait_s=api.limits.answer_wait_s
            )
    except Conflict as error:
        # The same form with other words in it: it was filled in again on purpose, so it is another request.
        if not key or error.code != "IDEMPOTENCY_KEY_REUSED":
            raise
        return _asked(operation, wanted, caller, "")


def _refuse(status: int, body: dict[str, Any]) -> None:
    words = str(body.get("detail") or body.get("title") or "the hub refused this")
    code = str(body.get("code", "REFUSED"))
    if code == StepUpNeeded.code:
        raise StepUpNeeded(words)
    refused = Refused(words, code=code, field=body.get("field"))
    refused.status = status
    raise refused
