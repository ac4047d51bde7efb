"""Targets, the spokes that serve them, and the join codes by which spokes come in."""

from peewee import Expression

from hub.errors import NotFound
from hub.infrastructure import host_keys, machine_policies, spokes, target_health
from hub.infrastructure.ssh_input import fingerprint_of
from hub.operations.body import Reply
from hub.orchestrator import waiting
from hub.projects import finding, targeting
from hub.queries import environments as environment_queries
from hub.queries.listing import Order, Page, Slice, at_text, page, time_text
from hub.queries.waits import WaitView, wait_views
from hub.states import Health, SpokeKind, TargetKind
from hub.storage.models import Account, JoinToken, RelayHint, Spoke, Target, TargetEnvironment, now_ms


class EndpointView(Reply):
    """How a target is reached; null what its kind does not have. `fingerprint`: of the host key that was confirmed.

    `account` is a name. `changed_to`: the fingerprint of another key, which stopped the target.
    """

    host: str | None = None
    port: int | None = None
    user: str | None = None
    account: str | None = None
    host_key: str | None = None
    fingerprint: str | None = None
    changed_to: str | None = None
    home: str | None = None
    python: str | None = None
    allow_weak: bool | None = None
    region: str | None = None
    properties: dict[str, str] | None = None
    address: str | None = None
    thumbprint: str | None = None


class HostKeyView(Reply):
    """`scanned_…`: what the machine showed when it was last looked at; nobody has compared that yet."""

    confirmed: str | None
    confirmed_fingerprint: str | None
    scanned: str | None
    scanned_fingerprint: str | None
    scanned_at: str | None
    scan_task: str | None


class TargetView(Reply):
    """`thumbprint`: of the spoke that serves it, in full. `endpoint`: null where a spoke stands on it.

    `health` is disabled, with the reason and since when, while the target takes no part. `policy`: a name.
    `python`: what runs jobs where a spoke stands on the machine; of an ssh target `health_reason` says it.
    """

    id: str
    name: str
    kind: str
    roles: list[str]
    environments: list[str]
    health: str
    health_reason: str
    health_since: str
    last_seen: str | None
    runner: int
    python: str
    spoke: str | None
    thumbprint: str | None
    endpoint: EndpointView | None
    policy: str
    disabled: bool
    disabled_reason: str
    version: int


class TargetDetail(TargetView):
    """`waits`: what is to be done there, and is not."""

    waits: list[WaitView]


class SpokeView(Reply):
    """`address`: where a listening spoke is dialled; `relay`: the name of who dials it, `reached` what that says.

    `notice`: what else somebody must do after this change; empty where nothing is left to do.
    """

    id: str
    name: str
    kind: str
    state: str
    thumbprint: str
    address: str
    relay: str | None
    reached: str
    notice: str
    platform: dict[str, str]
    software: str
    runner: int
    created_at: str
    approved_at: str | None
    revoked_at: str | None
    last_seen: str | None
    clock_skew_s: float
    version: int


class SpokeDetail(SpokeView):
    """`waits`: what it has or should have, and messages to it."""

    waits: list[WaitView]


class JoinCodeView(Reply):
    """Never the code itself: only its hash is kept."""

    id: str
    role: str
    name_pattern: str
    roles: list[str]
    environments: list[str]
    approve: str
    created_by: str
    created_at: str
    expires_at: str
    used_at: str | None
    used_by: str | None
    revoked_at: str | None


def target_view(row: Target) -> TargetView:
    spoke = Spoke.get_or_none(Spoke.id == row.spoke) if row.spoke else None
    seen = target_health.shown(row)
    names = environment_queries.names()
    return TargetView(
        id=row.id,
        name=row.name,
        kind=str(row.kind),
        roles=sorted(row.roles),
        environments=sorted(names[found] for found in targeting.environments_of(row) if found in names),
        health=str(seen.health),
        health_reason=seen.reason,
        health_since=time_text(seen.since_ms),
        last_seen=at_text(spoke.last_seen_at) if spoke else None,
        runner=spoke.runner_release if spoke else 0,
        python=str(spoke.platform.get("python", "")) if spoke else "",
        spoke=spoke.id if spoke else None,
        thumbprint=spokes.thumbprint_of(spoke) if spoke else None,
        endpoint=endpoint_view(row),
        policy=machine_policies.policy_of(row).name,
        disabled=row.disabled_at is not None,
        disabled_reason=row.disabled_reason,
        version=row.version,
    )


def endpoint_view(row: Target) -> EndpointView | None:
    if not row.endpoint:
        return None
    shown = {name: value for name, value in row.endpoint.items() if name in EndpointView.model_fields}
    shown["account"] = _account_name(row)
    if row.kind is TargetKind.SSH:
        key = row.endpoint["host_key"]
        shown |= {"host_key": key or None, "fingerprint": fingerprint_of(key) if key else None}
        shown["user"] = row.endpoint["user"] or None
    return EndpointView(**shown)


def _account_name(row: Target) -> str | None:
    wanted = row.endpoint.get("account")
    found = Account.get_or_none(Account.id == wanted) if wanted else None
    return found.name if found is not None else None


def host_key(ref: str) -> HostKeyView:
    """The key that is pinned, and the one that the last scan found."""
    row = targeting.target(ref)
    if row.kind is not TargetKind.SSH:
        raise NotFound(f"target {row.name!r} is {row.kind}: it has no host key")
    confirmed, scanned = row.endpoint["host_key"], host_keys.last_scan(row)
    return HostKeyView(
        confirmed=confirmed or None,
        confirmed_fingerprint=fingerprint_of(confirmed) if confirmed else None,
        scanned=scanned.host_key if scanned else None,
        scanned_fingerprint=scanned.fingerprint if scanned else None,
        scanned_at=time_text(scanned.at_ms) if scanned else None,
        scan_task=scanned.task if scanned else None,
    )


def spoke_view(row: Spoke, notice: str = "") -> SpokeView:
    hint = RelayHint.get_or_none(RelayHint.spoke == row.id) if row.kind == SpokeKind.LISTENING else None
    relay = Spoke.get_or_none(Spoke.id == hint.relay) if hint is not None else None
    return SpokeView(
        id=row.id,
        name=row.name,
        kind=str(row.kind),
        state=str(row.state),
        thumbprint=spokes.thumbprint_of(row),
        address=row.address,
        relay=relay.name if relay is not None else None,
        reached=hint.reason or str(hint.up) if hint is not None else "",
        notice=notice,
        platform={str(key): str(value) for key, value in row.platform.items()},
        software=row.software,
        runner=row.runner_release,
        created_at=time_text(row.created_at),
        approved_at=at_text(row.approved_at),
        revoked_at=at_text(row.revoked_at),
        last_seen=at_text(row.last_seen_at),
        clock_skew_s=float(row.clock_skew_s),
        version=row.version,
    )


def join_code_view(row: JoinToken) -> JoinCodeView:
    names = environment_queries.names()
    return JoinCodeView(
        id=row.id,
        role=row.role,
        name_pattern=row.name_pattern,
        roles=row.roles,
        environments=[names.get(found, found) for found in row.environments],
        approve=str(row.approve),
        created_by=row.created_by,
        created_at=time_text(row.created_at),
        expires_at=time_text(row.expires_at),
        used_at=at_text(row.used_at),
        used_by=row.used_by,
        revoked_at=at_text(row.revoked_at),
    )


def targets(
    part: Slice, *, q: str = "", role: str = "", environment: str = "", health: str = "", kind: str = ""
) -> Page[TargetView]:
    query = Target.select()
    if kind:
        query = query.where(Target.kind == kind)
    if q:
        query = query.where(Target.name.contains(q))
    if health:
        query = query.where(_is(health))
    if environment:
        inside = TargetEnvironment.select(TargetEnvironment.target).where(
            TargetEnvironment.environment == finding.environment(environment, "environment").id
        )
        query = query.where(Target.id << inside)
    if role:
        # Roles are a list in one column; there are hundreds of targets, not millions.
        having = [row.id for row in Target.select(Target.id, Target.roles) if role in row.roles]
        query = query.where(Target.id << having)
    return page(query, Order(Target.name, Target.id), part, target_view)


def _is(health: str) -> Expression:
    if health == Health.DISABLED:
        return Target.disabled_at.is_null(False)
    return Target.disabled_at.is_null() & (Target.health == health)


def target(ref: str) -> TargetDetail:
    row = targeting.target(ref)
    return TargetDetail(**target_view(row).model_dump(), waits=wait_views(waiting.of_target(row, now_ms())))


def all_spokes(part: Slice, *, state: str = "") -> Page[SpokeView]:
    query = Spoke.select()
    if state:
        query = query.where(Spoke.state == state)
    return page(query, Order(Spoke.created_at, Spoke.id, newest_first=True), part, spoke_view)


def spoke_row(ref: str) -> Spoke:
    """By id or name; of several with one name, the newest that is not revoked."""
    found: Spoke = finding.find(
        Spoke, ref, "spoke", names=(Spoke.name,), newest=(Spoke.revoked_at.is_null(False), Spoke.created_at.desc())
    )
    return found


def spoke(ref: str) -> SpokeDetail:
    row = spoke_row(ref)
    return SpokeDetail(**spoke_view(row).model_dump(), waits=wait_views(waiting.of_spoke(row, now_ms())))


def join_codes(part: Slice) -> Page[JoinCodeView]:
    return page(JoinToken.select(), Order(JoinToken.created_at, JoinToken.id, newest_first=True), part, join_code_view)
