"""A whole portal in one process: pages and API over a real hub's rows, with the engine's side answering.

with running_portal(folder) as portal:
    ann = portal.signed_in("ann", "system-admin")        a visitor with cookies, as a browser has them
    ann.get("/projects").heading, ann.submit("/projects/storefront/releases", version="1.0.0")
"""

import html
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from hub.access import users
from hub.api.parts import ApiLimits, ApiParts
from hub.orchestrator import task_log
from hub.orchestrator.task_log import Lines
from hub.states import TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import RateBucket, Task, now_ms
from portal import login
from portal.app import create_app
from portal.parts import PortalParts
from tests.fakes.api_hub import ApiHub, running_api

ORIGIN = "https://hub.example"
PASSWORD = "correct horse battery staple"

STORY: list[dict[str, Any]] = [
    {"kind": "Environment", "name": "Development"},
    {"kind": "Environment", "name": "Production"},
    {
        "kind": "Lifecycle",
        "name": "Default",
        "phases": [
            {"name": "Try", "environments": ["Development"]},
            {"name": "Live", "environments": ["Production"], "require": "all"},
        ],
    },
    {
        "kind": "Account",
        "name": "deploy-login",
        "type": "password",
        "fields": {"user": "deploy"},
        "secrets": {"password": "canary-l0gin"},
    },
    {"kind": "Target", "type": "ssh", "name": "build-1", "host": "build-1.example.com", "account": "deploy-login"},
    {
        "kind": "Project",
        "name": "Storefront",
        "lifecycle": "Default",
        "variables": [
            {"name": "Greeting", "value": "Hello from #{Manyarm.Environment.Name}"},
            {"name": "ApiToken", "secret": True, "value": "canary-5tr0ng"},
        ],
        "process": [
            {"name": "Deploy web", "kind": "deploy-package", "roles": ["web"], "package": "storefront"},
            {"name": "Check", "kind": "run-script", "roles": ["web"], "script": "true"},
        ],
    },
]


@dataclass
class Visitor:
    """Somebody with a browser that runs no script."""

    app: Flask
    address: str
    last: TestResponse | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        self.last = self._open("GET", path, **options)
        return self.last

    def post(self, path: str, **fields: Any) -> TestResponse:
        """A form of this site's, without a page before it: fields as they are given."""
        return self._open("POST", path, data=fields, headers={"Sec-Fetch-Site": "same-origin"})

    def submit(self, path: str, *, page: str = "", **fields: Any) -> TestResponse:
        """Fill in the form with this action on a page (or on the last one) and press its button."""
        shown = self.get(page) if page else self.last
        assert shown is not None, "there is no page to fill in"
        return self.post(path, **(hidden_fields(shown.text, path) | fields))

    def token(self, page: str = "/account") -> str:
        return hidden_fields(self.get(page).text)["csrf_token"]

    def sign_in(self, name: str, password: str = PASSWORD, **fields: Any) -> TestResponse:
        return self.submit("/login", page="/login", name=name, password=password, **fields)

    def cookie(self, name: str = "__Host-manyarm") -> str:
        found = self.client.get_cookie(name, domain="hub.example")
        return found.value if found else ""

    def _open(self, method: str, path: str, *, headers: Any = None, **options: Any) -> TestResponse:
        return self.client.open(
            path,
            method=method,
            base_url=ORIGIN,
            headers=self.headers | dict(headers or {}),
            environ_overrides={"REMOTE_ADDR": self.address},
            **options,
        )


@dataclass
class PortalHub:
    api: ApiHub
    app: Flask
    parts: PortalParts
    task: str = ""
    addresses: Iterator[str] = field(default_factory=lambda: (f"10.9.{n // 250}.{n % 250}" for n in itertools.count(1)))

    def visitor(self) -> Visitor:
        return Visitor(self.app, next(self.addresses))

    def person(self, name: str, *roles: str | tuple[str, str | None, str | None], password: str = PASSWORD) -> None:
        """Somebody with a password; a role may be `(role, project id, environment id)`."""
        with connection(), write_tx():
            seals = self.api.installed.seals
            user = users.create_user(seals, name, now_ms(), password_hash=self.parts.api.passwords.hash(password))
            for role in roles:
                given, project, environment = (role, None, None) if isinstance(role, str) else role
                users.grant_role(seals, user.id, given, now_ms(), project=project, environment=environment)
            self.api.users[name] = user

    def signed_in(self, name: str, *roles: str | tuple[str, str | None, str | None]) -> Visitor:
        if name not in self.api.users:
            self.person(name, *roles)
        self.forget_limits()
        visitor = self.visitor()
        assert visitor.sign_in(name).status_code == 303
        return visitor

    def forget_limits(self) -> None:
        """Nobody has ever tried to sign in."""
        with connection(), write_tx():
            RateBucket.delete().execute()

    def tell_story(self) -> str:
        """Storefront with one target, a package, release 1.0.0 and a deployment of it under way; returns its task."""
        assert self.api.post("/apply", {"documents": STORY}).status_code == 200
        self.api.add_target("web-1", roles=("web",), environments=("Development", "Production"))
        self.api.add_runner()
        assert self.api.push("storefront.1.0.0.zip").status_code == 201
        assert self.api.post("/releases", {"project": "Storefront", "version": "1.0.0"}).status_code == 201
        return self.deploy()

    def deploy(self) -> str:
        wanted = {"project": "Storefront", "release": "1.0.0", "environment": "Development"}
        made = self.api.post("/deployments", wanted)
        assert made.status_code == 201, made.text
        return str(made.json["task"])

    def print_lines(self, task: str, *texts: str, level: str = "stdout", target: str = "web-1") -> None:
        """Lines as the engine writes them when they come from a spoke."""
        with connection(), write_tx():
            lines = Lines(task, [now_ms()] * len(texts), [level] * len(texts), texts, "Deploy web", target)
            task_log.append(self.api.installed.engine, [lines])

    def end_task(self, task: str, state: TaskState = TaskState.SUCCEEDED) -> None:
        with connection(), write_tx():
            at = now_ms()
            ended = {"state": state, "started_at": at, "ended_at": at, "version": Task.version + 1}
            Task.update(ended).where(Task.id == task).execute()

    @contextmanager
    def served(self) -> Iterator[str]:
        """The portal on a port of its own; gives its address."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True)
        address = f"http://127.0.0.1:{server.server_port}"
        self.app.extensions["manyarm"] = replace(self.parts, origin=address)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            self.app.extensions["manyarm"] = self.parts


@contextmanager
def running_portal(
    folder: Path,
    *,
    limits: ApiLimits | None = None,
    engine: bool = True,
    change: Callable[[ApiParts], ApiParts] = lambda parts: parts,
) -> Iterator[PortalHub]:
    def with_sessions(parts: ApiParts) -> ApiParts:
        return change(replace(parts, session_caller=login.session_caller))

    with running_api(folder, limits=limits, engine=engine, change=with_sessions) as api:
        parts = PortalParts(api=api.parts, origin=ORIGIN, hosts=("hub.example", "127.0.0.1"))
        yield PortalHub(api, create_app(parts), parts)


def hidden_fields(page: str, action: str = "") -> dict[str, str]:
    """The hidden fields of the form with this action, or of the first one."""
    forms = re.findall(r"<form\b[^>]*>.*?</form>", page, re.DOTALL)
    wanted = [form for form in forms if f'action="{html.escape(action)}"' in form] or [
        form for form in forms if "csrf_token" in form and (not action or "action=" not in form.split(">")[0])
    ]
    assert wanted, f"no form for {action or 'anything'}"
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', wanted[0])
    return {name: html.unescape(value) for name, value in found}
