"""The hub's REST API as the client commands use it: one request, its JSON, and its errors as endings of a command."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from hub.cli.client.access import Access, access
from hub.cli.ending import CommandFailed, Status

Json = Any
Answer = urllib3.BaseHTTPResponse
_TRIES = 3
_PAUSE_S = 0.7
_AGAIN = frozenset({502, 503, 504})
_TIMEOUT = urllib3.Timeout(connect=5, read=90)
_LATE_ANSWER_S = 120.0


class HubApi:
    """A hub's API under one key; not shared between threads."""

    def __init__(self, chosen: Access) -> None:
        self._base = f"{chosen.url}/api/v1"
        self.url = chosen.url
        self._headers = {"Authorization": f"Bearer {chosen.api_key}", "User-Agent": "manyarm-cli"}
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)

    def get(self, path: str, **query: object) -> Json:
        asked = {name: value for name, value in query.items() if value is not None and value != ""}
        return self._json("GET", path + (f"?{urlencode(asked, doseq=True)}" if asked else ""))

    def post(self, path: str, body: Mapping[str, Any], *, place: str = "") -> Json:
        """Ask for a change; asked again under the same key if the answer was lost, so it is done once.

        `place` is the file that faults with a line are in.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        return self._json("POST", path, json.dumps(body).encode(), headers, place=place)

    def put(self, path: str, body: Mapping[str, Any]) -> Json:
        """Replace what is there now: read, then written under the ETag that was read."""
        etag = self._request("GET", path).headers.get("ETag", "*")
        headers = {"Content-Type": "application/json", "If-Match": etag}
        return self._json("PUT", path, json.dumps(body).encode(), headers)

    def delete(self, path: str) -> Json:
        return self._json("DELETE", path, None, {"If-Match": "*"})

    def post_packed(self, path: str, content: bytes, kind: str = "application/json") -> Json:
        """Post bytes that have been packed with gzip."""
        return self._json("POST", path, content, {"Content-Type": kind, "Content-Encoding": "gzip"})

    def send(self, path: str, pieces: Iterator[bytes], length: int, kind: str) -> Json:
        """One upload of so many bytes, as they come; not tried again by itself, for the pieces are gone then."""
        return self._json("POST", path, pieces, {"Content-Type": kind, "Content-Length": str(length)})

    def items(self, path: str, **query: object) -> Iterator[Json]:
        """Every item of a list, page by page."""
        after: object = None
        while True:
            page = self.get(path, after=after, limit=1000, **query)
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def _json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, place: str = ""
    ) -> Json:
        answer = self._request(method, path, body, headers, place)
        found = json.loads(answer.data) if answer.data else None
        if answer.status == 202 and answer.headers.get("Location", "").startswith("/api/v1/intents/"):
            return self._late(answer.headers["Location"])
        return found

    def _late(self, location: str) -> Json:
        """The engine was busy or away: its answer is at the link as soon as it is there."""
        deadline = time.monotonic() + _LATE_ANSWER_S
        while time.monotonic() < deadline:
            found = json.loads(self._request("GET", location.removeprefix("/api/v1")).data)
            if found["state"] == "done":
                if found["status"] >= 400:
                    raise CommandFailed(_words(found["answer"], ""), _status(found["status"]))
                return found["answer"] or None
            time.sleep(0.5)
        raise CommandFailed(f"the hub has taken the request but not answered yet; look at {location}", Status.TIMED_OUT)

    def _request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, place: str = ""
    ) -> Answer:
        sent = {**self._headers, **(headers or {})}
        tries = _TRIES if method in {"GET", "PUT"} or "Idempotency-Key" in sent else 1
        answer = self._tried(method, path, body, sent, tries)
        if answer.status >= 400:
            raise CommandFailed(_problem(answer, place), _status(answer.status))
        return answer

    def _tried(self, method: str, path: str, body: Any, headers: Mapping[str, str], tries: int) -> Answer:
        """The answer of the first try that has one; a hub that is being restarted gets a moment."""
        for left in reversed(range(tries)):
            try:
                answer = self._pool.request(method, self._base + path, body=body, headers=headers, redirect=False)
            except urllib3.exceptions.HTTPError as error:
                if not left:
                    words = f"the hub at {self.url} cannot be reached: {_plain(error)}"
                    raise CommandFailed(words, Status.UNREACHABLE) from error
            else:
                if answer.status not in _AGAIN or not left:
                    return answer
            time.sleep(_PAUSE_S)
        raise AssertionError("the last try answers or raises")


def api(url: str | None = None) -> HubApi:
    """The API of the hub that option, environment or login name."""
    return HubApi(access(url))


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _problem(answer: Answer, place: str) -> str:
    try:
        return _words(json.loads(answer.data), place)
    except (ValueError, KeyError, AttributeError):
        return f"the hub answered {answer.status}"


def _words(problem: Json, place: str) -> str:
    if place and problem.get("line"):
        line = problem["line"]
        return f"{place}:{line}: {str(problem['detail']).removeprefix(f'line {line}: ')}"
    detail = problem.get("detail") or problem.get("title") or problem["code"]
    field = f" (field {problem['field']})" if problem.get("field") else ""
    return f"{detail}{field}"


def _status(http: int) -> Status:
    if http in {401, 403}:
        return Status.NOT_ALLOWED
    if http == 404:
        return Status.NOT_FOUND
    if http >= 500:
        # A gateway's words for "nobody is there"; other faults are the hub's own, and it answered.
        return Status.UNREACHABLE if http in _AGAIN else Status.TASK_FAILED
    return Status.USAGE


def _plain(error: Exception) -> str:
    return str(error).rsplit(": ", maxsplit=1)[-1]
