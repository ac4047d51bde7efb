"""Who is calling: an API key in the Authorization header, or what the portal's session resolver finds; never both."""

import re
import time
from collections.abc import Callable

from flask import Request

from hub.access import api_keys
from hub.access.caller import Caller
from hub.errors import Invalid, NotSignedIn
from hub.storage.seals import RowSeals

SESSION_COOKIE = "__Host-manyarm"
SessionResolver = Callable[[Request], Caller | None]

_BEARER = re.compile(r"Bearer ([!-~]{1,200})")


def caller_from(request: Request, seals: RowSeals, session_caller: SessionResolver | None = None) -> Caller | None:
    """The caller of a request; None: nobody says who he is.

    Raises:
        NotSignedIn: a key that is not valid (any more).
        Invalid: a key and a session together: which of the two acts?
    """
    header = request.headers.get("Authorization")
    if header is None:
        return session_caller(request) if session_caller is not None else None
    if SESSION_COOKIE in request.cookies:
        raise Invalid("expected a session or an API key, found both", field="Authorization")
    return _by_key(header, seals)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _by_key(header: str, seals: RowSeals) -> Caller:
    found = _BEARER.fullmatch(header)
    if found is None:
        raise NotSignedIn("expected Authorization: Bearer mak_…")
    return api_keys.caller_by(found.group(1), seals, now_ms())
