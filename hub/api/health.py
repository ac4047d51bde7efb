"""For load balancers and monitoring: is the process there, can it work, and how is the hub doing."""

import ipaddress
from collections.abc import Callable

from flask import Flask, Response, json, request
from peewee import PeeweeException, fn
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hub.api.callers import caller_from
from hub.api.declared import public
from hub.api.parts import ApiParts
from hub.errors import NotAllowed
from hub.permissions import Permission
from hub.queries.shown import counts
from hub.states import OutboxState
from hub.storage.database import connection
from hub.storage.models import Installation, Outbox, Spoke, Target, Task


def install(app: Flask, parts: ApiParts) -> None:
    app.add_url_rule("/healthz", "healthz", public(reason="says only that the process lives")(_alive))
    guarded = public(reason="asks for loopback or a key with the scope metrics by itself")
    app.add_url_rule("/readyz", "readyz", guarded(_for_monitoring(parts, _ready)))
    app.add_url_rule("/metrics", "metrics", guarded(_for_monitoring(parts, _metrics)))


def _alive() -> Response:
    return Response(status=200)


def _for_monitoring(parts: ApiParts, view: Callable[[ApiParts], Response]) -> Callable[[], Response]:
    def serve() -> Response:
        _admit(parts)
        return view(parts)

    serve.__name__ = view.__name__
    return serve


def _admit(parts: ApiParts) -> None:
    # A header that says "loopback" is no loopback: behind a proxy everybody would be.
    forwarded = any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"))
    if not forwarded and _is_loopback(request.remote_addr):
        return
    with connection():
        caller = caller_from(request, parts.seals)
    if caller is None or not caller.may_somewhere(Permission.METRICS):
        raise NotAllowed(f"this needs loopback, or an API key with the permission {Permission.METRICS}")


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _ready(parts: ApiParts) -> Response:
    state = {"database": _database_answers(), "broker": parts.broker_connected()}
    return Response(json.dumps(state), 200 if all(state.values()) else 503, content_type="application/json")


def _database_answers() -> bool:
    try:
        with connection():
            return bool(Installation.select().exists())
    except PeeweeException:
        return False


def _metrics(_: ApiParts) -> Response:
    registry = CollectorRegistry()
    with connection():
        _tasks(registry)
        _count(registry, "manyarm_targets", "Targets by health.", Target.health)
        _count(registry, "manyarm_spokes", "Spokes by state.", Spoke.state)
        waiting = Outbox.select().where(Outbox.state == OutboxState.WAITING).count()
    Gauge("manyarm_outbox_waiting", "Messages that wait for their spoke.", registry=registry).set(waiting)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _tasks(registry: CollectorRegistry) -> None:
    gauge = Gauge("manyarm_tasks", "Tasks by state.", ["state"], registry=registry)
    for state, number in counts(Task.id.is_null(False)).items():
        gauge.labels(str(state)).set(number)


def _count(registry: CollectorRegistry, name: str, text: str, column: object) -> None:
    gauge = Gauge(name, text, [column.name], registry=registry)  # type: ignore[attr-defined]  # a peewee field
    model = column.model  # type: ignore[attr-defined]
    for value, number in model.select(column, fn.COUNT(model.id)).group_by(column).tuples():
        gauge.labels(str(value)).set(number)
