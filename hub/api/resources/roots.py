"""`/`: what there is."""

from hub.api.declared import Declared
from hub.api.route import BASE, Call, Resource
from hub.operations.body import Reply

RESOURCE = Resource("roots")

_COLLECTIONS = (
    "api-keys", "dashboard", "deployments", "environments", "events", "grants", "join-codes", "lifecycles", "me",
    "packages", "projects", "releases", "runs", "sessions", "spokes", "step-kinds", "targets", "tasks", "users",
    "variable-sets",
)  # fmt: skip


class Roots(Reply):
    links: dict[str, str]


@RESOURCE.get("", Roots, Declared(own=True), "The collections")
def roots(_: Call) -> Roots:
    return Roots(links={name: f"{BASE}/{name}" for name in (*_COLLECTIONS, "openapi.json")})
