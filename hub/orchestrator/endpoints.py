"""PURE. How a target is reached: what its spoke is told, and under which names it gets the account's secrets.

    ssh    host, port, user, host key  +  Manyarm.Endpoint.<field>   which the ssh spoke keeps to itself
    cloud  region, properties, account +  Manyarm.Account.<field>    which the run gets, as its tools expect them

A step on the hub that names an account gets that account as a cloud target would. Whatever does not fit makes no plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.plan import ENDPOINT_SECRETS
from hub.states import AccountKind, TargetKind
from wire.canonical import JsonObject, JsonValue
from wire.messages import Op

ACCOUNT_SECRETS = "Manyarm.Account."
ACCOUNT_REF = "account:"
SSH_ACCOUNTS = frozenset({AccountKind.SSH_KEY, AccountKind.PASSWORD})
CLOUD_ACCOUNTS = frozenset(AccountKind) - SSH_ACCOUNTS


@dataclass(frozen=True, slots=True)
class AccountInput:
    """An account without its secrets' values. `unusable`: why it must not be used, in words; "" where it may."""

    id: str
    name: str
    kind: AccountKind
    fields: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    environments: frozenset[str] = frozenset()
    unusable: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A target as its row says: its kind, and the endpoint that people gave it."""

    name: str
    kind: TargetKind
    endpoint: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Reached:
    """`secrets`: references by name."""

    endpoint: JsonObject = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


def secret_ref(account_id: str, name: str) -> str:
    """How a plan names one field of an account's secrets."""
    return f"{ACCOUNT_REF}{account_id}:{name}"


def reach(place: Place, op: str, named: str, accounts: Mapping[str, AccountInput], environment: str) -> Reached:
    """What a job on this target takes along.

    Args:
        place: The target.
        op: What the command asks for.
        named: The account that the step names, or "".
        accounts: By id and by lower-case name.
        environment: The id of the environment that the task is for, or "".

    Raises:
        PlanImpossible: one sentence that says what is wrong and what mends it.
    """
    if place.kind is TargetKind.SSH:
        if named:
            raise PlanImpossible(
                f"target {place.name!r} is a machine: a step that names an account runs on the hub or on cloud targets"
            )
        return _scanned(place) if op == Op.SCAN_HOST_KEY else _ssh(place, accounts, environment)
    if op != Op.RUN_JOB:
        return Reached()
    if place.kind is TargetKind.CLOUD:
        return _cloud(place, named or _text(place, "account"), accounts, environment)
    if place.kind is TargetKind.LOCAL and named:
        return _cloud(place, named, accounts, environment)
    if named:
        raise PlanImpossible(
            f"target {place.name!r} is a machine: a step that names an account runs on the hub or on cloud targets"
        )
    return Reached()


def _ssh(place: Place, accounts: Mapping[str, AccountInput], environment: str) -> Reached:
    if not _text(place, "host_key"):
        raise PlanImpossible(
            f"the host key of target {place.name!r} is not confirmed: run `manyarm target confirm-host-key "
            f"{place.name}`, or disable the target"
        )
    account = _account(place, _text(place, "account"), accounts, environment, SSH_ACCOUNTS)
    endpoint: JsonObject = {
        "kind": "ssh",
        "host": _text(place, "host"),
        "port": place.endpoint.get("port", 22),
        "user": _text(place, "user") or account.fields.get("user", ""),
        "host_key": _text(place, "host_key"),
        "home": _text(place, "home"),
        "python": _text(place, "python"),
        "account_kind": str(account.kind),
        "allow_weak": bool(place.endpoint.get("allow_weak", False)),
        "allow_inner": bool(place.endpoint.get("allow_inner", False)),
    }
    return Reached(endpoint, {f"{ENDPOINT_SECRETS}{name}": secret_ref(account.id, name) for name in account.secrets})


def _scanned(place: Place) -> Reached:
    inner = bool(place.endpoint.get("allow_inner", False))
    return Reached({"host": _text(place, "host"), "port": place.endpoint.get("port", 22), "allow_inner": inner})


def _cloud(place: Place, named: str, accounts: Mapping[str, AccountInput], environment: str) -> Reached:
    account = _account(place, named, accounts, environment, CLOUD_ACCOUNTS)
    properties = place.endpoint.get("properties", {})
    endpoint: JsonObject = {
        "kind": "cloud",
        "region": _text(place, "region"),
        "properties": dict(properties) if isinstance(properties, Mapping) else {},
        "account": {"kind": str(account.kind), "name": account.name, "fields": dict(account.fields)},
    }
    return Reached(endpoint, {f"{ACCOUNT_SECRETS}{name}": secret_ref(account.id, name) for name in account.secrets})


def _account(
    place: Place,
    named: str,
    accounts: Mapping[str, AccountInput],
    environment: str,
    fitting: frozenset[AccountKind],
) -> AccountInput:
    account = accounts.get(named) or accounts.get(named.lower())
    if account is None:
        known = f"account {named!r}" if named else "account"
        raise PlanImpossible(f"target {place.name!r}: its {known} is gone; give it another one, or disable the target")
    if account.unusable:
        raise PlanImpossible(f"target {place.name!r}: account {account.name!r} cannot be used: {account.unusable}")
    if account.kind not in fitting:
        kinds = ", ".join(sorted(fitting))
        raise PlanImpossible(
            f"target {place.name!r}: account {account.name!r} is of the kind {account.kind}; expected one of {kinds}"
        )
    if account.environments and environment and environment not in account.environments:
        raise PlanImpossible(f"target {place.name!r}: account {account.name!r} may not be used in this environment")
    return account


def _text(place: Place, name: str) -> str:
    return str(place.endpoint.get(name) or "")
