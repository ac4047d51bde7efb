"""A listening machine introduced by hand: where it is dialled, and the thumbprint that a person read on its console."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.acting import Acting
from hub.errors import Invalid
from hub.infrastructure.listening import checked_address, expect
from hub.infrastructure.targets import check_name, checked_roles, put_into
from hub.states import Health, TargetKind
from hub.storage.models import Target
from wire.errors import Refused
from wire.keys import parse_thumbprint, thumbprint_of_digest


@dataclass(frozen=True, slots=True)
class Introduced:
    """`environments` are ids. `allow_inner`: an administrator lets targets be on the hub's own machine."""

    name: str
    address: str
    thumbprint: str
    roles: Sequence[str]
    environments: Sequence[str]
    allow_inner: bool = False


def introduce(context: Acting, wanted: Introduced) -> Target:
    """The target of a machine that will answer there with that key; no spoke serves it yet."""
    check_name(wanted.name)
    endpoint = {
        "address": checked_address(wanted.address, allow_inner=wanted.allow_inner),
        "thumbprint": _checked_thumbprint(wanted.thumbprint),
    }
    row = Target(
        name=wanted.name,
        kind=TargetKind.LISTENING,
        roles=checked_roles(wanted.roles),
        endpoint=endpoint,
        health=Health.UNKNOWN,
        health_reason="never heard of yet",
        health_since=context.now_ms,
    )
    context.seals.seal(row)
    row.save(force_insert=True)
    put_into(row, wanted.environments)
    expect(context, row)
    return row


def _checked_thumbprint(text: str) -> str:
    """In its one spelling: it is compared with that of the key that comes."""
    try:
        return thumbprint_of_digest(parse_thumbprint("".join(text.split())))
    except Refused as error:
        raise Invalid("expected what `manyarm-spoke thumbprint` prints on the machine", field="thumbprint") from error
