"""A task's log and states as server-sent events.

event: log      id: <seq>   data: one line            a reconnect says Last-Event-ID and misses nothing
event: state                data: {state, waiting_for, version}
event: end                                            the task has ended and all its lines were sent
"""

import time
from collections.abc import Iterator
from typing import Any

from flask import Request, Response, json

from hub.access.caller import caller_of
from hub.api.callers import now_ms
from hub.api.log_poller import Watched
from hub.api.route import Call
from hub.errors import HubError
from hub.orchestrator.task_log import LogLine
from hub.queries import tasks as queries
from hub.queries.tasks import line_view
from hub.states import TASK_ENDED
from hub.storage.database import connection
from hub.storage.models import Task

_RETRY_MS = 1_000
_DIGITS_MAX = 15


def response(call: Call, task: str, after: int) -> Response:
    """The stream of a task that the caller may see, behind a line; 204 where nothing will ever come."""
    with connection():
        row = Task.get_by_id(task)
    if row.state in TASK_ENDED and after >= row.log_lines:
        return Response(status=204)
    watched = call.parts.poller.watch(task)
    found = Response(_events(call, watched, after), content_type="text/event-stream; charset=utf-8")
    # A generator that was never started runs no `finally`: the watcher is counted out when the response closes.
    found.call_on_close(lambda: call.parts.poller.leave(watched))
    found.headers["X-Accel-Buffering"] = "no"
    return found


def resumed_after(request: Request, wanted: int) -> int:
    """The number of the last line that the client has: Last-Event-ID goes before `?after=`."""
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else wanted


def _events(call: Call, watched: Watched, after: int) -> Iterator[bytes]:
    limits = call.parts.limits
    started = spoken = checked = time.monotonic()
    seen, version = after, -1
    yield f"retry: {_RETRY_MS}\n\n".encode()
    while time.monotonic() - started < limits.stream_s:
        ended = watched.ended
        lines = call.parts.poller.lines(watched, seen)
        if lines:
            seen = lines[-1].seq
            yield b"".join(_line_event(line) for line in lines)
        if watched.version != version:
            version = watched.version
            yield _event("state", watched.state)
        if ended and not lines:
            yield _event("end", {"seq": seen})
            return
        now = time.monotonic()
        if lines:
            spoken = now
        elif now - spoken >= limits.stream_comment_s:
            spoken = now
            yield b": still here\n\n"
        if now - checked >= limits.stream_recheck_s:
            checked = now
            if not _may_still(call, watched.task):
                return
        if not lines:
            call.parts.poller.wait(watched, version, seen, limits.stream_recheck_s)


def _may_still(call: Call, task: str) -> bool:
    """Whether the credential still counts, and its owner may still see the task."""
    try:
        with connection():
            queries.row_of(caller_of(call.caller.credential, now_ms(), call.parts.seals), task)
    except HubError:
        return False
    return True


def _line_event(line: LogLine) -> bytes:
    return _event("log", line_view(line).model_dump(), number=line.seq)


def _event(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    # JSON has no raw line break, so one data line holds whatever a script printed.
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()
