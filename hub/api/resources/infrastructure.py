"""`/targets`, `/spokes`, `/join-codes`."""

from typing import Literal

from hub.api.query_string import ListQuery, SearchQuery, Word
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import infrastructure as queries
from hub.queries.infrastructure import HostKeyView, JoinCodeView, SpokeDetail, SpokeView, TargetDetail, TargetView
from hub.queries.listing import Page

TARGETS = Resource("targets")
SPOKES = Resource("spokes")
JOIN_CODES = Resource("join-codes")


class TargetsQuery(SearchQuery):
    role: Word = ""
    environment: Word = ""
    health: Literal["", "healthy", "warning", "unhealthy", "unavailable", "unknown", "disabled"] = ""
    kind: Literal["", "polling", "listening", "ssh", "cloud", "local"] = ""


class SpokesQuery(ListQuery):
    state: Literal["", "pending", "trusted", "revoked"] = ""


@TARGETS.get("/targets", Page[TargetView], Permission.TARGET_VIEW, "All targets", query=TargetsQuery)
def list_targets(call: Call) -> Page[TargetView]:
    query = call.query
    chosen = {"role": query.role, "environment": query.environment, "health": query.health, "kind": query.kind}
    return queries.targets(query.slice, q=query.q, **chosen)


@TARGETS.get("/targets/<target>", TargetDetail, Permission.TARGET_VIEW, "One target, and what waits for it")
def show_target(_: Call, target: str) -> TargetDetail:
    return queries.target(target)


@TARGETS.get(
    "/targets/<target>/host-key", HostKeyView, Permission.TARGET_VIEW, "An SSH target's host key: pinned, and scanned"
)
def show_host_key(_: Call, target: str) -> HostKeyView:
    return queries.host_key(target)


TARGETS.change("POST", "/targets", "target.create")
TARGETS.change("PUT", "/targets/<target>", "target.update")
TARGETS.change("DELETE", "/targets/<target>", "target.delete")
TARGETS.change("POST", "/targets/<target>/enable", "target.enable")
TARGETS.change("POST", "/targets/<target>/disable", "target.disable")
TARGETS.change("POST", "/targets/<target>/policy", "target.set-policy")
TARGETS.change("POST", "/targets/<target>/check", "target.check")
TARGETS.change("POST", "/targets/<target>/endpoint", "target.set-endpoint")
TARGETS.change("POST", "/targets/<target>/scan-host-key", "target.scan-host-key")
TARGETS.change("POST", "/targets/<target>/confirm-host-key", "target.confirm-host-key")


@SPOKES.get("/spokes", Page[SpokeView], Permission.SPOKE_VIEW, "Spokes, newest first", query=SpokesQuery)
def list_spokes(call: Call) -> Page[SpokeView]:
    return queries.all_spokes(call.query.slice, state=call.query.state)


@SPOKES.get(
    "/spokes/<spoke>", SpokeDetail, Permission.SPOKE_VIEW, "One spoke, with its thumbprint, and what waits for it"
)
def show_spoke(_: Call, spoke: str) -> SpokeDetail:
    return queries.spoke(spoke)


SPOKES.change("POST", "/spokes/<spoke>/approve", "spoke.approve")
SPOKES.change("POST", "/spokes/<spoke>/revoke", "spoke.revoke")
SPOKES.change("POST", "/spokes/<spoke>/move", "spoke.move")
SPOKES.change("POST", "/spokes/<spoke>/rotate", "spoke.rotate")
SPOKES.change("POST", "/spokes/<spoke>/replace", "spoke.replace")


@JOIN_CODES.get(
    "/join-codes", Page[JoinCodeView], Permission.JOIN_CODE_EDIT, "Join codes, newest first", query=ListQuery
)
def list_join_codes(call: Call) -> Page[JoinCodeView]:
    return queries.join_codes(call.query.slice)


JOIN_CODES.change("POST", "/join-codes", "join-code.create")
JOIN_CODES.change("DELETE", "/join-codes/<join_code>", "join-code.revoke")
