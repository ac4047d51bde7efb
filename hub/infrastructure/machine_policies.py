"""Machine policies: how often targets are looked at, by which script, and what deployments do with those that are away.

A target without one has the policy "Default", which the engine makes when it first starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from peewee import fn

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.infrastructure.display_names import fault_of
from hub.infrastructure.target_health import care_of, forget_verdict
from hub.states import Unavailable
from hub.storage.models import MachinePolicy, Target, TargetCare
from hub.storage.seals import RowSeals

DEFAULT = "Default"
INTERVAL_S = 3600
INTERVAL_LEAST_S, INTERVAL_MOST_S = 60, 7 * 24 * 3600
WAIT_MOST_S = 24 * 3600
_SCRIPT_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """What a policy is to be."""

    name: str
    interval_s: int = INTERVAL_S
    script: str = ""
    shell: str = "bash"
    unavailable: Unavailable = Unavailable.WAIT
    wait_s: int = 0
    catch_up: bool = False
    description: str = ""


def ensure_default(context: Acting) -> MachinePolicy:
    """The default policy, made where there is none; inside the caller's transaction."""
    found: MachinePolicy | None = MachinePolicy.get_or_none(MachinePolicy.name == DEFAULT)
    return found or create_policy(context, PolicyRequest(DEFAULT, description="Of targets that name no other one."))


def create_policy(context: Acting, wanted: PolicyRequest) -> MachinePolicy:
    _check_name(wanted.name)
    row = MachinePolicy(name=wanted.name)
    _write(row, wanted)
    context.seals.seal(row)
    row.save(force_insert=True)
    return row


def update_policy(context: Acting, policy_id: str, wanted: PolicyRequest) -> MachinePolicy:
    """Make it what is wanted; its targets are looked at anew where the script changes.

    Raises:
        Conflict: the default policy would get another name, or the name is taken.
    """
    row = find_policy(policy_id)
    context.seals.check(row)
    if row.name == DEFAULT and wanted.name != DEFAULT:
        raise Conflict(f"the policy {DEFAULT!r} keeps its name: targets that name none have it", field="name")
    _check_name(wanted.name, but=row.id)
    before, script = _content(row), (row.script, row.shell)
    row.name = wanted.name
    _write(row, wanted)
    if _content(row) == before:
        return row
    row.version += 1
    context.seals.seal(row)
    row.save()
    if (row.script, row.shell) != script:
        for target in targets_of(row):
            forget_verdict(target, context.now_ms)
    return row


def as_it_is(row: MachinePolicy) -> PolicyRequest:
    """What would change nothing."""
    return PolicyRequest(**{field.name: getattr(row, field.name) for field in fields(PolicyRequest)})


def delete_policy(context: Acting, policy_id: str) -> MachinePolicy:
    """Forget it; its targets have the default one from now on.

    Raises:
        Conflict: it is the default one.
    """
    row = find_policy(policy_id)
    if row.name == DEFAULT:
        raise Conflict(f"the policy {DEFAULT!r} stays: targets that name none have it")
    for target in targets_of(row):
        give_policy(target, None, context.now_ms)
    row.delete_instance()
    return row


def give_policy(row: Target, policy: MachinePolicy | None, at_ms: int) -> bool:
    """Whether that changed anything; None: the default one. Inside the caller's transaction."""
    wanted = None if policy is None or policy.name == DEFAULT else policy.id
    care = care_of(row.id)
    if care.policy == wanted:
        return False
    TargetCare.update(policy=wanted).where(TargetCare.target == row.id).execute()
    forget_verdict(row, at_ms)
    return True


def policy_of(row: Target) -> MachinePolicy:
    """The policy that holds for a target."""
    return policies_of([row])[row.id]


def policies_of(rows: Sequence[Target]) -> dict[str, MachinePolicy]:
    """By the target's id. Until the engine has made the default policy, one that is not stored stands for it."""
    known = {row.id: row for row in MachinePolicy.select()}
    default = next((row for row in known.values() if row.name == DEFAULT), None) or BUILT_IN
    chosen: Any = (
        TargetCare.select(TargetCare.target, TargetCare.policy)
        .where(TargetCare.target.in_([row.id for row in rows]), TargetCare.policy.is_null(False))
        .tuples()
    )
    named = dict(chosen)
    return {row.id: known.get(named.get(row.id, ""), default) for row in rows}


def targets_of(row: MachinePolicy) -> list[Target]:
    """By name."""
    named = TargetCare.select(TargetCare.target).where(TargetCare.policy.is_null(False))
    if row.name != DEFAULT:
        chosen = Target.id << named.where(TargetCare.policy == row.id)
    else:
        chosen = Target.id.not_in(named)
    return list(Target.select().where(chosen).order_by(Target.name))


def find_policy(ref: str) -> MachinePolicy:
    """By id or name."""
    row: MachinePolicy | None = MachinePolicy.get_or_none(MachinePolicy.id == ref)
    row = row or MachinePolicy.get_or_none(fn.LOWER(MachinePolicy.name) == ref.lower())
    if row is None:
        raise NotFound(f"no machine policy {ref!r}")
    return row


BUILT_IN = MachinePolicy(name=DEFAULT, interval_s=INTERVAL_S)
"""What stands for the default policy while the engine has not made it yet."""


def is_whole(seals: RowSeals, policy: MachinePolicy) -> bool:
    """Whether it is as the hub wrote it."""
    return policy is BUILT_IN or seals.holds(policy)


def _write(row: MachinePolicy, wanted: PolicyRequest) -> None:
    if not INTERVAL_LEAST_S <= wanted.interval_s <= INTERVAL_MOST_S:
        raise Invalid(f"expected {INTERVAL_LEAST_S} to {INTERVAL_MOST_S} seconds", field="interval_s")
    if not 0 <= wanted.wait_s <= WAIT_MOST_S:
        raise Invalid(f"expected at most {WAIT_MOST_S} seconds", field="wait_s")
    if wanted.wait_s and wanted.unavailable is not Unavailable.WAIT:
        raise Invalid("only a policy whose `unavailable` is wait waits", field="wait_s")
    if wanted.catch_up and wanted.unavailable is not Unavailable.SKIP:
        raise Invalid("only a policy whose `unavailable` is skip leaves something to catch up with", field="catch_up")
    if len(wanted.script.encode()) > _SCRIPT_MAX:
        raise Invalid(f"expected at most {_SCRIPT_MAX} bytes", field="script")
    row.interval_s, row.script, row.shell = wanted.interval_s, wanted.script, wanted.shell
    row.unavailable, row.wait_s, row.catch_up = wanted.unavailable, wanted.wait_s, wanted.catch_up
    row.description = wanted.description


def _content(row: MachinePolicy) -> tuple[object, ...]:
    return (*(getattr(row, name) for name in MachinePolicy.SEALED), row.description)


def _check_name(name: str, but: str = "") -> None:
    fault = fault_of(name)
    if fault is not None:
        raise Invalid(fault, field="name")
    taken = MachinePolicy.get_or_none((fn.LOWER(MachinePolicy.name) == name.lower()) & (MachinePolicy.id != but))
    if taken is not None:
        raise Conflict(f"there is a machine policy {taken.name!r} already", field="name")
