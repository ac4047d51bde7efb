"""A machine that lost its keys enrols anew; an administrator says which spoke it was, and its target stays the same."""

from hub.acting import Acting
from hub.errors import Conflict
from hub.infrastructure import spokes
from hub.projects import targeting
from hub.states import SpokeState
from hub.storage.models import Spoke, Target


def replace_spoke(context: Acting, new: Spoke, old: Spoke) -> str:
    """Trust a pending spoke in the place of another one, which is revoked; inside `write_tx`.

    The new one takes up name, targets, roles and environments; nothing that is sealed to the old one is sent again.

    Returns:
        What else somebody must do ("": nothing).

    Raises:
        Conflict: they are of different kinds, or the new one waits for no approval.
    """
    if new.id == old.id or new.state != SpokeState.PENDING:
        raise Conflict(f"spoke {new.name!r} is {new.state}: only a pending spoke replaces another one")
    if new.kind != old.kind:
        raise Conflict(f"a {new.kind} spoke does not replace a {old.kind} one: revoke that one, and approve this one")
    context.seals.check(new)
    served = list(Target.select().where(Target.spoke == old.id).order_by(Target.name))
    _, first = spokes.revoke_spoke(context, old.id, f"replaced by {new.name}")
    new.name = old.name
    own = next((row for row in served if row.name == old.name), None)
    if own is not None:
        new.wants = {"roles": own.roles, "environments": targeting.environments_of(own)}
    spokes.seal_and_save(context.seals, new)
    for row in served:
        context.seals.check(row)
        row.spoke = new.id
        row.version += 1
        context.seals.seal(row)
        row.save()
    second = spokes.trust(context, new)
    return " ".join(dict.fromkeys(part for part in (first, second) if part))
