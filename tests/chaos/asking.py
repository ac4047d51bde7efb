"""Asks a hub for work until it has answered: the same question has the same key, so that it is done once."""

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import Any

from hub.states import TASK_ENDED

_PATIENCE_S = 20.0
_PAUSE_S = 0.5


@dataclass
class Asked:
    """One request for work: its question, and the task that was promised, once it was."""

    key: str
    path: str
    body: dict[str, Any]
    task: str | None = None
    cancelled: bool = False
    refusal: str = ""
    tries: int = field(default=0)


class Caller:
    """Whoever asks, like any program with a key; used by one thread."""

    def __init__(self, url: str, key: str) -> None:
        self._place = url.removeprefix("http://")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._ended: set[str] = set()

    def ask(self, asked: Asked) -> bool:
        """Once; whether it was answered with a task. A 4xx that is no matter of waiting is kept as its refusal."""
        asked.tries += 1
        status, answer = self._send("POST", asked.path, asked.body, asked.key)
        if status in {200, 201}:
            asked.task = str(answer["task"])
        elif 400 <= status < 500 and status not in {408, 425, 429}:
            asked.refusal = f"{status} {answer.get('detail', answer)}"
        return asked.task is not None

    def cancel(self, task: str) -> bool:
        """Once; whether the hub has taken it. A task that has ended meanwhile says no, which is an answer."""
        status, _ = self._send("POST", f"/tasks/{task}/cancel", {}, f"cancel-{task}")
        return status in {200, 202}

    def ended(self, task: str) -> bool:
        """False where nobody answers."""
        if task not in self._ended:
            status, answer = self._send("GET", f"/tasks/{task}", None, "")
            if status == 200 and answer["state"] in TASK_ENDED:
                self._ended.add(task)
        return task in self._ended

    def _send(self, method: str, path: str, body: dict[str, Any] | None, key: str) -> tuple[int, dict[str, Any]]:
        """Status and answer; 503 where nobody is there."""
        connection = http.client.HTTPConnection(self._place, timeout=_PATIENCE_S)
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        try:
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            found = json.loads(answer.read() or b"{}")
            return answer.status, found if isinstance(found, dict) else {}
        except (OSError, http.client.HTTPException, ValueError):
            return 503, {}
        finally:
            connection.close()


def until_answered(caller: Caller, asked: Asked, limit_s: float = 120) -> None:
    """Again and again, under the same key; gives up after the limit, for the oracle to say so."""
    ends = time.monotonic() + limit_s
    while not caller.ask(asked) and time.monotonic() < ends:
        time.sleep(_PAUSE_S)
