"""A hub that answers its API in one process: real rows, keys, intents and engine side; the broker is in memory.

hub = running_api(folder)  ->  hub.get("/projects"), hub.post("/projects", {...}), hub.as_user("ann", "viewer")
"""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from hub.access import api_keys, users
from hub.access.passwords import HashCost, Passwords
from hub.api.app import create_app
from hub.api.log_poller import LogPoller
from hub.api.parts import ApiLimits, ApiParts
from hub.api.rate_limit import RateLimit
from hub.operations.answering import Answering, AnsweringParts
from hub.operations.asking import Asking
from hub.operations.context import Joining
from hub.operations.hub_address import HubAddress
from hub.orchestrator.steering import Steering
from hub.orchestrator.submitting import Orchestrator
from hub.orchestrator.task_store import TaskStore
from hub.packages.chunk_store import ChunkStore
from hub.packages.feed import PushComplete, push_complete
from hub.packages.ingest import Ingestion
from hub.packages.names import PackageFile
from hub.packages.versions import Version
from hub.states import PackageKind, SpokeState
from hub.storage.database import connection, write_tx
from hub.storage.files import FileStore
from hub.storage.hub_keys import signing_key
from hub.storage.hub_trust import installation, load_seals
from hub.storage.models import Environment, Spoke, Target, TargetEnvironment, User, now_ms
from runner.contract.step_kind import StepKind, read_step_kinds
from runner.steps import step_kinds
from tests.fakes.feed import zip_of
from tests.fakes.installed_hub import InstalledHub, installed_hub
from tests.fakes.memory import MemoryBroker, MemoryConnection
from wire.keys import BoxKey, SigningKey
from wire.roles import Role

KINDS: dict[str, StepKind] = read_step_kinds(step_kinds())
YEAR_MS = 300 * 24 * 3600 * 1000


@dataclass
class ApiHub:
    """`key`: an administrator's. Every request names its key; there is no session."""

    installed: InstalledHub
    app: Flask
    parts: ApiParts
    answering: Answering
    broker: MemoryBroker
    key: str = ""
    users: dict[str, User] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None, **options: Any) -> TestResponse:
        """One request; a dict becomes JSON."""
        headers = dict(options.pop("headers", {}))
        wanted = self.key if key is None else key
        if wanted:
            headers.setdefault("Authorization", f"Bearer {wanted}")
        if body is not None:
            options["data"] = json.dumps(body)
            options.setdefault("content_type", "application/json")
        full = path if path.startswith(("/api/", "/healthz", "/readyz", "/metrics")) else f"/api/v1{path}"
        return self.app.test_client(use_cookies=False).open(full, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.call("POST", path, {} if body is None else body, **options)

    def put(self, path: str, body: Any, *, version: int | str = "*", **options: Any) -> TestResponse:
        tag = version if version == "*" else f'"{version}"'
        return self.call("PUT", path, body, headers={"If-Match": tag}, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.call("DELETE", path, **options)

    def as_user(self, name: str, *roles: str | tuple[str, str | None, str | None], scopes: Any = None) -> str:
        """A key of a person with these roles; a role may be `(role, project id, environment id)`."""
        with connection(), write_tx():
            user = users.create_user(self.installed.seals, name, now_ms())
            for role in roles:
                given, project, environment = (role, None, None) if isinstance(role, str) else role
                users.grant_role(
                    self.installed.seals, user.id, given, now_ms(), project=project, environment=environment
                )
            self.users[name] = user
            return self.key_for(user, scopes=scopes)

    def add_target(self, name: str, *, roles: tuple[str, ...] = (), environments: tuple[str, ...] = ()) -> Target:
        """A target served by a trusted spoke; environments by name."""
        sign, box = SigningKey.generate(), BoxKey.generate()
        spoke = Spoke(
            name=name,
            state=SpokeState.TRUSTED,
            sign_pk=sign.verify_key.pk.hex(),
            sign_kid=sign.kid.hex(),
            box_pk=box.public.pk.hex(),
        )
        target = Target(name=name, spoke=spoke.id, roles=list(roles))
        with connection(), write_tx():
            self.installed.seals.seal(spoke)
            spoke.save(force_insert=True)
            self.installed.seals.seal(target)
            target.save(force_insert=True)
            for environment in environments:
                row = Environment.get(Environment.name == environment)
                TargetEnvironment.create(target=target.id, environment=row.id)
        return target

    def add_runner(self) -> None:
        """A package that plans take for the runner; no byte of it is ever run here."""
        content = zip_of(main=b"print('a runner')")
        ingested = self.parts.ingestion.whole(
            PackageFile("manyarm-runner", Version.parse("1.0.0"), "zip"), io.BytesIO(content), length=len(content)
        )
        with connection(), write_tx():
            push_complete(self.installed.acting(), PushComplete(**ingested.completion()), kind=PackageKind.RUNNER)

    def push(self, name: str, content: bytes | None = None) -> TestResponse:
        """A small zip under this file name."""
        return self.call(
            "POST",
            f"/packages?name={name}",
            data=content if content is not None else zip_of(index=name.encode()),
            content_type="application/octet-stream",
        )

    def key_for(self, user: User, *, scopes: Any = None, expires_at: int | None = None) -> str:
        with connection(), write_tx():
            _, text = api_keys.new_api_key(
                self.installed.seals,
                user,
                "a test's",
                now_ms(),
                expires_at=expires_at or now_ms() + YEAR_MS,
                scopes=scopes,
            )
        return text.reveal()


@contextmanager
def running_api(
    folder: Path,
    *,
    database: str = "",
    limits: ApiLimits | None = None,
    rate_limit: RateLimit | None = None,
    engine: bool = True,
    change: Callable[[ApiParts], ApiParts] = lambda parts: parts,
    allow_inner_targets: bool = False,
) -> Iterator[ApiHub]:
    """A hub with one administrator; `engine=False` leaves intents unanswered."""
    with ExitStack() as stack:
        hub = stack.enter_context(installed_hub(folder, database))
        broker = MemoryBroker()
        portal_connection = MemoryConnection(broker, "portal")
        hub_connection = MemoryConnection(broker, "hub")
        stack.callback(portal_connection.close)
        stack.callback(hub_connection.close)
        parts = change(_api_parts(hub, portal_connection, limits or ApiLimits(), rate_limit or RateLimit(1e6, 10**6)))
        answering = Answering(replace(_answering_parts(hub, hub_connection), allow_inner_targets=allow_inner_targets))
        api = ApiHub(hub, create_app(parts), parts, answering, broker)
        api.key = api.as_user("root", "system-admin")
        if engine:
            stop = threading.Event()
            thread = threading.Thread(target=answering.run, args=(stop,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
        yield api


def _api_parts(hub: InstalledHub, connection_: MemoryConnection, limits: ApiLimits, rate_limit: RateLimit) -> ApiParts:
    store = ChunkStore(hub.home / "chunks")
    asking = Asking(
        connection=connection_,
        signer=lambda: signing_key(hub.portal, Role.HUB_PORTAL),
        hub=HubAddress(),
        vault=hub.portal,
    )
    return ApiParts(
        asking=asking,
        vault=hub.portal,
        seals=load_seals(hub.portal),
        chunks=store,
        ingestion=Ingestion(store, hub.portal),
        artifacts=FileStore(hub.portal, hub.home / "artifacts"),
        passwords=Passwords(HashCost(ops=1, memory_bytes=8192)),
        poller=LogPoller(hub.portal),
        step_kinds=lambda: KINDS,
        broker_connected=lambda: True,
        rate_limit=rate_limit,
        limits=limits,
    )


def _answering_parts(hub: InstalledHub, connection_: MemoryConnection) -> AnsweringParts:
    def nothing() -> None:
        """No outbox is at work here."""

    store = TaskStore(hub.engine)
    steering = Steering(hub.engine, store, now_ms, nothing)
    return AnsweringParts(
        connection=connection_,
        hub_id=lambda: hub.hub_id,
        keys=hub.trust.directory,
        boxes=lambda: hub.boxes,
        vault=hub.engine,
        seals=hub.seals,
        orchestrator=Orchestrator(store, steering),
        step_kinds=lambda: KINDS,
        joining=lambda: Joining(bytes.fromhex(installation().root_thumbprint), "hub.example:8443"),
        wake=nothing,
    )


__all__ = ["ApiHub", "replace", "running_api"]
