"""Host keys of SSH targets: scanned, shown, compared by people, confirmed; a changed one stops its target.

scan (task)  ->  the key as the machine showed it  ->  a person compares it on the console  ->  confirm
                                                                                                   |
another key is shown: disabled, unhealthy, both fingerprints said   <-  every connection   <-  pinned
"""

import re
from dataclasses import dataclass

from hub.acting import Acting
from hub.errors import Conflict, Invalid
from hub.infrastructure import ssh_input
from hub.infrastructure.target_health import NOT_LOOKED_AT, check_soon
from hub.states import Health, TargetKind
from hub.storage.models import Job, OutputVariable, Target, Task
from hub.storage.seals import RowSeals

SCAN_STEP = "Scan"
SCAN_OUTPUT = "host_key"
CHANGED = "SSH_HOSTKEY"
_FINGERPRINTS = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a machine showed when it was last looked at; nobody has compared it yet."""

    host_key: str
    fingerprint: str
    task: str
    at_ms: int


def last_scan(row: Target) -> Scanned | None:
    """What the newest scan of a target's present address brought; None where there was none, or it brought no key."""
    found = (
        OutputVariable.select(
            OutputVariable.value, OutputVariable.task, Job.ended_at, Task.created_at.alias("asked_at")
        )
        .join(Job, on=(OutputVariable.job == Job.id))
        .switch(OutputVariable)
        .join(Task, on=(OutputVariable.task == Task.id))
        .where(
            Job.target == row.id,
            OutputVariable.step == SCAN_STEP,
            OutputVariable.name == SCAN_OUTPUT,
            Task.created_at >= row.endpoint.get("moved_at", 0),
        )
        .order_by(Task.created_at.desc())
        .tuples()
        .first()
    )
    if found is None:
        return None
    value, task, ended_at, asked_at = found
    try:
        key = ssh_input.checked_host_key(value)
    except Invalid:
        return None
    return Scanned(key, ssh_input.fingerprint_of(key), task, ended_at or asked_at)


def confirm_host_key(context: Acting, row: Target, *, host_key: str = "", fingerprint: str = "") -> Target:
    """Pin the key that a person compared: given whole, or by the fingerprint of what the last scan found.

    Raises:
        Conflict: no SSH target, nothing scanned, or another key was scanned.
    """
    if row.kind is not TargetKind.SSH:
        raise Conflict(f"target {row.name!r} is {row.kind}: it has no host key")
    context.seals.check(row)
    key = ssh_input.checked_host_key(host_key) if host_key else _scanned_as(row, fingerprint)
    if host_key and fingerprint and ssh_input.fingerprint_of(key) != ssh_input.checked_fingerprint(fingerprint):
        raise Conflict("the key and the fingerprint are not the same: do not trust it", field="fingerprint")
    endpoint = {name: value for name, value in row.endpoint.items() if name != "changed_to"}
    row.endpoint = {**endpoint, "host_key": key}
    if row.endpoint != endpoint or row.disabled_reason.startswith(CHANGED):
        row.health, row.health_reason, row.health_since = Health.UNKNOWN, NOT_LOOKED_AT, context.now_ms
    if row.disabled_reason.startswith(CHANGED):
        row.disabled_at, row.disabled_reason = None, ""
    row.version += 1
    context.seals.seal(row)
    row.save()
    check_soon(row)
    return row


def note_changed_key(seals: RowSeals, target_id: str, message: str, now_ms: int) -> str:
    """A connection was refused since the machine showed another key: take the target out until a person has looked.

    Args:
        target_id: Of the job that failed.
        message: Of its result: the code, then the fingerprint that was expected and the one that was found.

    Returns:
        The reason as people see it; "" where the message is about a key that is pinned no more.
    """
    row = Target.get_or_none(Target.id == target_id)
    prints = _FINGERPRINTS.findall(message)
    if row is None or row.kind is not TargetKind.SSH or len(prints) < 2 or not seals.holds(row):
        return ""
    expected, found = prints[0], prints[1]
    pinned = row.endpoint.get("host_key", "")
    if not pinned or ssh_input.fingerprint_of(pinned) != expected or row.endpoint.get("changed_to") == found:
        return ""
    reason = f"host key changed: expected {expected}, found {found}"
    row.endpoint = {**row.endpoint, "changed_to": found}
    row.disabled_at, row.disabled_reason = now_ms, f"{CHANGED}: {reason}"
    row.health, row.health_reason, row.health_since = Health.UNHEALTHY, reason, now_ms
    row.version += 1
    seals.seal(row)
    row.save()
    return reason


def _scanned_as(row: Target, fingerprint: str) -> str:
    wanted = ssh_input.checked_fingerprint(fingerprint)
    scanned = last_scan(row)
    if scanned is None:
        raise Conflict("nothing was scanned yet: scan first, or give the whole key", field="fingerprint")
    if scanned.fingerprint != wanted:
        raise Conflict(
            f"the last scan found {scanned.fingerprint}, which is not what you compared: do not trust it",
            field="fingerprint",
        )
    return scanned.host_key
