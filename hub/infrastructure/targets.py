"""Deployment targets: the machines that steps act on, each served by one spoke."""

from collections.abc import Iterable, Sequence

from peewee import fn

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.infrastructure.display_names import fault_of
from hub.states import JOB_OPEN, Health, JobState, SpokeKind, SpokeState, TargetKind
from hub.storage.models import Environment, Job, Spoke, Target, TargetEnvironment
from hub.storage.seals import RowSeals

MAX_ROLES = 50
HUB_TARGET = "hub"
OWN_TARGET = {
    SpokeKind.POLLING: TargetKind.POLLING,
    SpokeKind.LISTENING: TargetKind.LISTENING,
    SpokeKind.LOCAL: TargetKind.LOCAL,
}
"""The kind of the target that a spoke stands on."""
REACHED_TARGETS = {SpokeKind.SSH: TargetKind.SSH, SpokeKind.LOCAL: TargetKind.CLOUD}
"""The kind of the targets that a spoke beside the hub reaches; it serves all of them."""


def update_target(
    context: Acting,
    target_id: str,
    *,
    name: str | None = None,
    roles: Sequence[str] | None = None,
    environments: Sequence[str] | None = None,
) -> Target:
    """Change what is given; environments are ids and replace those that it has."""
    row = find_target(target_id)
    if name is not None:
        check_name(name, but=row.id)
        row.name = name
    if roles is not None:
        row.roles = checked_roles(roles)
    if environments is not None:
        put_into(row, environments)
    return _seal_and_save(context.seals, row)


def enable_target(context: Acting, target_id: str) -> Target:
    """Let plans take it again.

    Raises:
        Conflict: its host key changed: that is confirmed, not passed over.
    """
    row = find_target(target_id)
    if row.endpoint.get("changed_to"):
        raise Conflict(f"the host key of {row.name!r} changed to {row.endpoint['changed_to']}: compare and confirm it")
    row.disabled_at, row.disabled_reason = None, ""
    return _seal_and_save(context.seals, row)


def disable_target(context: Acting, target_id: str, reason: str = "") -> Target:
    """No plan takes it from now on; what runs on it goes on."""
    row = find_target(target_id)
    row.disabled_at, row.disabled_reason = context.now_ms, reason
    return _seal_and_save(context.seals, row)


def delete_target(_context: Acting, target_id: str) -> None:
    """Forget a target whose spoke is revoked or was never trusted.

    Raises:
        Conflict: its spoke stands on it and is trusted: revoke that first, so that nothing goes on running unseen.
    """
    row = find_target(target_id)
    if row.kind in REACHED_TARGETS.values():
        _check_idle(row)
        row.delete_instance()
        return
    spoke = Spoke.get_or_none(Spoke.id == row.spoke) if row.spoke is not None else None
    if spoke is not None and spoke.state == SpokeState.TRUSTED:
        raise Conflict(f"target {row.name!r} is served by a trusted spoke: revoke it first")
    row.delete_instance()


def create_target(seals: RowSeals, spoke: Spoke, roles: Sequence[str], environments: Sequence[str]) -> Target | None:
    """The target that a spoke stands on; a machine that enrols again takes up its old one.

    An ssh spoke and a relay stand on none. The targets that an ssh or a hub-run spoke reaches it takes up from its
    predecessor.

    Raises:
        Conflict: another spoke that is not revoked serves a target of this name.
    """
    adopt_targets(seals, spoke)
    kind = OWN_TARGET.get(spoke.kind)
    if kind is None:
        return None
    name = HUB_TARGET if kind is TargetKind.LOCAL else spoke.name
    row = _by_name(name)
    if row is None:
        row = Target(name=name, kind=kind, spoke=spoke.id, roles=checked_roles(roles))
        seals.seal(row)
        row.save(force_insert=True)
        put_into(row, environments)
        return row
    if is_served(row) and row.spoke != spoke.id:
        raise Conflict(f"target {row.name!r} is served by another spoke: revoke that one, or enrol under another name")
    row.kind, row.spoke, row.roles = kind, spoke.id, checked_roles(roles)
    row.disabled_at, row.disabled_reason = None, ""
    put_into(row, environments)
    return _seal_and_save(seals, row)


def adopt_targets(seals: RowSeals, spoke: Spoke) -> list[Target]:
    """Give a new ssh or hub-run spoke the targets of its kind that no spoke serves any more."""
    reached = REACHED_TARGETS.get(spoke.kind)
    if reached is None:
        return []
    orphans = [row for row in Target.select().where(Target.kind == reached) if not is_served(row)]
    for row in orphans:
        seals.check(row)
        row.spoke = spoke.id
        _seal_and_save(seals, row)
    return orphans


def _check_idle(row: Target) -> None:
    if Job.select().where(Job.target == row.id, Job.state.in_(JOB_OPEN - {JobState.PLANNED})).exists():
        raise Conflict(f"work is under way on target {row.name!r}: cancel it first, or wait for its end")


def is_name_free(name: str) -> bool:
    """Whether a spoke of this name would find, or get, a target."""
    row = _by_name(name)
    return row is None or not is_served(row)


def is_served(row: Target) -> bool:
    if row.spoke is None:
        return False
    spoke = Spoke.get_or_none(Spoke.id == row.spoke)
    return spoke is not None and spoke.state != SpokeState.REVOKED


def set_health(row: Target, health: Health, reason: str, now_ms: int) -> bool:
    """Whether that is news; inside the caller's transaction."""
    if (row.health, row.health_reason) == (health, reason):
        return False
    if row.health != health:
        row.health_since = now_ms
    row.health, row.health_reason = health, reason
    row.save(only=[Target.health, Target.health_reason, Target.health_since])
    return True


def put_into(row: Target, environments: Iterable[str]) -> None:
    """Stand in exactly these environments (ids)."""
    wanted = list(dict.fromkeys(environments))
    known = {row.id for row in Environment.select(Environment.id).where(Environment.id.in_(wanted))}
    missing = [environment for environment in wanted if environment not in known]
    if missing:
        raise Invalid("no such environment", field="environments")
    TargetEnvironment.delete().where(TargetEnvironment.target == row.id).execute()
    for environment in wanted:
        TargetEnvironment.create(target=row.id, environment=environment)


def checked_roles(roles: Iterable[str]) -> list[str]:
    """The roles, each once.

    Raises:
        Invalid: one is no name, or they are too many.
    """
    wanted = list(dict.fromkeys(roles))
    if len(wanted) > MAX_ROLES:
        raise Invalid(f"{len(wanted)} roles; expected at most {MAX_ROLES}", field="roles")
    for role in wanted:
        fault = fault_of(role)
        if fault is not None:
            raise Invalid(f"a role: {fault}", field="roles")
    return wanted


def find_target(target_id: str) -> Target:
    row: Target | None = Target.get_or_none(Target.id == target_id)
    if row is None:
        raise NotFound("no such target")
    return row


def _by_name(name: str) -> Target | None:
    found: Target | None = Target.get_or_none(fn.LOWER(Target.name) == name.lower())
    return found


def check_name(name: str, but: str = "") -> None:
    """Raise unless this is a name, and no other target's."""
    fault = fault_of(name)
    if fault is not None:
        raise Invalid(fault, field="name")
    taken = Target.get_or_none((fn.LOWER(Target.name) == name.lower()) & (Target.id != but))
    if taken is not None:
        raise Conflict(f"there is a target {taken.name!r} already", field="name")


def _seal_and_save(seals: RowSeals, row: Target) -> Target:
    row.version += 1
    seals.seal(row)
    row.save()
    return row
