"""Targets that people add by saying where they are: SSH machines and cloud targets; what they are reached by is sealed.

    ssh    the ssh spoke beside the hub serves it; nothing is sent there before its host key was confirmed
    cloud  the hub-run spoke serves it

Another host or port makes the host key unknown again: credentials only ever go to a key that was confirmed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.infrastructure import accounts, ssh_input
from hub.infrastructure.endpoint_body import EndpointBody
from hub.infrastructure.target_health import NOT_LOOKED_AT, as_its_spoke_is, check_soon
from hub.infrastructure.targets import REACHED_TARGETS, check_name, checked_roles, put_into
from hub.orchestrator.endpoints import CLOUD_ACCOUNTS, SSH_ACCOUNTS
from hub.states import AccountKind, Health, SpokeKind, SpokeState, TargetKind
from hub.storage.models import Spoke, Target

NOT_CONFIRMED = "its host key is not confirmed"
_FIELDS: Mapping[TargetKind, tuple[str, ...]] = {
    TargetKind.SSH: ("host", "port", "user", "account", "host_key", "home", "python", "allow_weak"),
    TargetKind.CLOUD: ("account", "region", "properties"),
}
_ACCOUNTS: Mapping[TargetKind, frozenset[AccountKind]] = {
    TargetKind.SSH: SSH_ACCOUNTS,
    TargetKind.CLOUD: CLOUD_ACCOUNTS,
}
_SERVED_BY = {kind: spoke for spoke, kind in REACHED_TARGETS.items()}


@dataclass(frozen=True, slots=True)
class NewTarget:
    """`environments` are ids. `allow_inner`: an administrator lets targets be on the hub's own machine."""

    kind: TargetKind
    name: str
    roles: Sequence[str]
    environments: Sequence[str]
    endpoint: EndpointBody
    allow_inner: bool = False


def create_reached(context: Acting, wanted: NewTarget) -> Target:
    check_name(wanted.name)
    endpoint = _endpoint(wanted.kind, {}, wanted.endpoint, allow_inner=wanted.allow_inner)
    row = Target(
        name=wanted.name,
        kind=wanted.kind,
        spoke=serving_spoke(_SERVED_BY[wanted.kind]),
        roles=checked_roles(wanted.roles),
        endpoint=endpoint,
        health=Health.UNKNOWN,
        health_reason=_first_reason(wanted.kind, endpoint),
        health_since=context.now_ms,
    )
    context.seals.seal(row)
    row.save(force_insert=True)
    put_into(row, wanted.environments)
    as_its_spoke_is(row, context.now_ms)
    return row


def change_endpoint(context: Acting, row: Target, wanted: EndpointBody, *, allow_inner: bool) -> bool:
    """Whether that changed anything; inside the caller's transaction.

    Raises:
        Conflict: a spoke stands on it: where it is, is not ours to say.
    """
    if row.kind not in _FIELDS:
        raise Conflict(f"target {row.name!r} is {row.kind}: its own spoke says where it is")
    context.seals.check(row)
    endpoint = _endpoint(row.kind, row.endpoint, wanted, allow_inner=allow_inner)
    if endpoint == row.endpoint:
        return False
    if _place(endpoint) != _place(row.endpoint):
        # What was scanned before this is another machine's key.
        endpoint["moved_at"] = context.now_ms
    if endpoint.get("host_key", "") != row.endpoint.get("host_key", ""):
        row.health, row.health_since = Health.UNKNOWN, context.now_ms
        row.health_reason = _first_reason(row.kind, endpoint)
    row.endpoint = endpoint
    row.version += 1
    context.seals.seal(row)
    row.save()
    check_soon(row)
    return True


def names_another_key(row: Target | None, wanted: EndpointBody) -> bool:
    """Whether a host key is given that the target does not have yet: who says so hands out trust."""
    if not wanted.host_key:
        return False
    return row is None or ssh_input.checked_host_key(wanted.host_key) != row.endpoint.get("host_key", "")


def serving_spoke(kind: SpokeKind) -> str | None:
    """The spoke beside the hub that reaches targets; None: none is trusted yet, and the next one takes them up."""
    row = (
        Spoke.select(Spoke.id)
        .where(Spoke.kind == kind, Spoke.state == SpokeState.TRUSTED)
        .order_by(Spoke.approved_at.desc())
        .first()
    )
    return None if row is None else str(row.id)


def _endpoint(
    kind: TargetKind, former: Mapping[str, Any], wanted: EndpointBody, *, allow_inner: bool
) -> dict[str, Any]:
    given = {name: value for name, value in wanted.model_dump().items() if value is not None and name in _all_fields()}
    for name in given:
        if name not in _FIELDS[kind]:
            raise Invalid(f"{kind} targets have no {name}; they have {', '.join(_FIELDS[kind])}", field=name)
    if "account" in given:
        given["account"] = _account_id(kind, given["account"])
    merged = {**former, **given}
    if not merged.get("account"):
        raise Invalid("an account is needed to get in", field="account")
    return _ssh(former, given, merged, allow_inner=allow_inner) if kind is TargetKind.SSH else _cloud(merged)


def _ssh(
    former: Mapping[str, Any], given: Mapping[str, Any], merged: Mapping[str, Any], *, allow_inner: bool
) -> dict[str, Any]:
    if not merged.get("host"):
        raise Invalid("is missing", field="host")
    host = ssh_input.checked_host(merged["host"], allow_inner=allow_inner or _stays(former, given))
    found: dict[str, Any] = {
        "host": host,
        "port": ssh_input.checked_port(merged.get("port", ssh_input.SSH_PORT)),
        "user": ssh_input.checked_user(merged["user"]) if merged.get("user") else "",
        "account": merged["account"],
        "host_key": ssh_input.checked_host_key(merged["host_key"]) if merged.get("host_key") else "",
        "home": ssh_input.checked_path(merged.get("home", ""), "home"),
        "python": _program(merged.get("python", "")),
        "allow_weak": bool(merged.get("allow_weak", False)),
        "allow_inner": bool(former.get("allow_inner", False)) if _stays(former, given) else allow_inner,
    }
    moved = bool(former) and _place(found) != _place(former)
    if moved and "host_key" not in given:
        found["host_key"] = ""
    if former.get("changed_to") and not moved and "host_key" not in given:
        found["changed_to"] = former["changed_to"]
    if former.get("moved_at"):
        found["moved_at"] = former["moved_at"]
    return found


def _place(endpoint: Mapping[str, Any]) -> tuple[object, object]:
    """Where a machine is; nothing in both for what is no machine."""
    return endpoint.get("host"), endpoint.get("port")


def _program(path: str) -> str:
    if path.startswith("~"):
        raise Invalid("expected an absolute path", field="python", code="SSH_ARG")
    return ssh_input.checked_path(path, "python")


def _stays(former: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether the host is the one that was allowed once."""
    return bool(former) and given.get("host", former.get("host")) == former.get("host")


def _cloud(merged: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "account": merged["account"],
        "region": merged.get("region", ""),
        "properties": dict(merged.get("properties", {})),
    }


def _account_id(kind: TargetKind, ref: str) -> str:
    try:
        account = accounts.find_account(ref)
    except NotFound as error:
        raise Invalid(f"no account {ref!r}", field="account") from error
    if account.kind not in _ACCOUNTS[kind]:
        kinds = ", ".join(sorted(_ACCOUNTS[kind]))
        raise Invalid(
            f"account {account.name!r} is of the kind {account.kind}; expected one of {kinds}", field="account"
        )
    return str(account.id)


def _all_fields() -> set[str]:
    return set(EndpointBody.model_fields)


def _first_reason(kind: TargetKind, endpoint: Mapping[str, Any]) -> str:
    return NOT_CONFIRMED if kind is TargetKind.SSH and not endpoint["host_key"] else NOT_LOOKED_AT
