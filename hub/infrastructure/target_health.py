"""How a target is, and who says so: its spoke's heartbeats, checks of the machine, and people who disable it.

polling, listening, cloud, local   as the heartbeats of their spoke say, unless a check found worse
ssh                                as the last check says; its spoke beside the hub only says that nobody can look
disabled                           shown in place of either, which go on underneath
"""

from dataclasses import dataclass
from typing import Any

from hub.infrastructure.targets import set_health
from hub.states import Health, TargetKind
from hub.storage.models import SpokeSession, Target, TargetCare

SPOKE_AWAY = "nobody can look: the SSH spoke beside the hub is away: "
NOT_LOOKED_AT = "not looked at yet"


@dataclass(frozen=True, slots=True)
class Shown:
    """A target's health as people see it."""

    health: Health
    reason: str
    since_ms: int


def shown(row: Target) -> Shown:
    if row.disabled_at is not None:
        return Shown(Health.DISABLED, row.disabled_reason, row.disabled_at)
    return Shown(row.health, row.health_reason, row.health_since)


def spoke_says(spoke: str, health: Health, reason: str, now_ms: int) -> None:
    """What the heartbeats of a spoke, or their absence, mean for each target that it serves; inside `write_tx`."""
    for row in Target.select().where(Target.spoke == spoke):
        if row.kind is TargetKind.SSH:
            _ssh_spoke_says(row, health, reason, now_ms)
        else:
            _note(row, said=health, said_reason=reason)
            as_both_say(row, now_ms)


def check_says(row: Target, health: Health, reason: str, now_ms: int) -> bool:
    """What a check of the machine itself found; whether that is news. Inside `write_tx`.

    A spoke that stands on its target goes on saying how it is; what the check found holds against a good word of it.
    """
    if row.kind is TargetKind.SSH:
        _note(row, checked_at=now_ms)
        return set_health(row, health, reason, now_ms)
    bad = health in (Health.WARNING, Health.UNHEALTHY)
    _note(row, checked_at=now_ms, verdict=health if bad else None, verdict_reason=reason if bad else "")
    # Of one whose spoke is away or revoked, that is the last word.
    return as_both_say(row, now_ms) if _is_live(row.spoke) else False


def as_both_say(row: Target, now_ms: int) -> bool:
    """Of a target on which its spoke stands: the worse of what that says and what the last check found."""
    care = care_of(row.id)
    if care.said is None:
        return False
    verdict = None if care.verdict is None else (care.verdict, care.verdict_reason)
    return set_health(row, *_worse((care.said, care.said_reason), verdict), now_ms)


def forget_verdict(row: Target, now_ms: int) -> None:
    """What was found by a script that counts no more; inside `write_tx`."""
    _note(row, verdict=None, verdict_reason="", due_at=0)
    if row.kind is not TargetKind.SSH and _is_live(row.spoke):
        as_both_say(row, now_ms)


def check_soon(row: Target) -> None:
    """Look at it at the next opportunity; inside `write_tx`."""
    _note(row, due_at=0)


def check_by(row: Target, due_ms: int) -> None:
    """Look at it by then, if not before; inside `write_tx`."""
    care_of(row.id)
    TargetCare.update(due_at=due_ms).where(TargetCare.target == row.id, TargetCare.due_at > due_ms).execute()


def as_its_spoke_is(row: Target, now_ms: int) -> None:
    """For a new target of a spoke that has been there before it: no heartbeat will be news. Inside `write_tx`."""
    if row.kind is not TargetKind.SSH and _is_live(row.spoke):
        _note(row, said=Health.HEALTHY)
        as_both_say(row, now_ms)


def care_of(target: str) -> TargetCare:
    """The row beside the target's; made where there is none."""
    found: TargetCare | None = TargetCare.get_or_none(TargetCare.target == target)
    if found is None:
        found = TargetCare.create(target=target)
    return found


def _ssh_spoke_says(row: Target, health: Health, reason: str, now_ms: int) -> None:
    if health in (Health.UNAVAILABLE, Health.UNKNOWN):
        set_health(row, Health.UNAVAILABLE, f"{SPOKE_AWAY}{reason}", now_ms)
        return
    if row.health is Health.UNAVAILABLE and row.health_reason.startswith(SPOKE_AWAY):
        set_health(row, Health.UNKNOWN, NOT_LOOKED_AT, now_ms)
    if row.health in (Health.UNAVAILABLE, Health.UNKNOWN):
        check_soon(row)


def _note(row: Target, **columns: Any) -> None:
    care_of(row.id)
    TargetCare.update(columns).where(TargetCare.target == row.id).execute()


_ORDER = (Health.UNAVAILABLE, Health.UNHEALTHY, Health.WARNING, Health.UNKNOWN, Health.HEALTHY)


def _worse(said: tuple[Health, str], found: tuple[Health, str] | None) -> tuple[Health, str]:
    if found is None or _ORDER.index(said[0]) <= _ORDER.index(found[0]):
        return said
    return found


def _is_live(spoke: str | None) -> bool:
    live = SpokeSession.select().where(
        SpokeSession.spoke == spoke, SpokeSession.live, SpokeSession.valid_until.is_null()
    )
    return spoke is not None and bool(live.exists())
