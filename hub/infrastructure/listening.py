"""Listening spokes: whom relays dial, and how one that a person introduced by its thumbprint is let in.

a person types address and thumbprint  >  it stands in the fleet, its mailbox is made  >  a relay dials it
its enrolment comes up by that relay   >  the key that signed it has the typed thumbprint  >  trusted
"""

from dataclasses import asdict
from typing import Any

from hub.acting import Acting, Itself
from hub.errors import Conflict
from hub.events.record import record
from hub.infrastructure import spokes
from hub.infrastructure.display_names import shown
from hub.infrastructure.ssh_input import checked_host, checked_port, split_address
from hub.projects import targeting
from hub.states import SpokeKind, SpokeState
from hub.storage.models import Introduction, Spoke, Target
from hub.storage.seals import RowSeals
from hub.storage.vault import Vault
from wire.errors import Code, Refused
from wire.exchange import Received
from wire.keys import thumbprint
from wire.messages import Enrol
from wire.topology import DEFAULT_FLEET

LISTENING_PORT = 8444


def expect(context: Acting, target: Target) -> Introduction:
    """From now on relays dial the target's address for whoever has the key of its thumbprint."""
    row = Introduction(
        address=target.endpoint["address"],
        thumbprint=target.endpoint["thumbprint"],
        fleet=DEFAULT_FLEET,
        target=target.id,
        created_by=context.caller.user_id,
        created_at=context.now_ms,
    )
    context.seals.seal(row)
    row.save(force_insert=True)
    return row


def let_in(received: Received, vault: Vault, seals: RowSeals, now_ms: int) -> Spoke:
    """The trusted spoke that an enrolment without a token becomes.

    Raises:
        Refused: JOIN_BAD where nobody typed the thumbprint of the key that signed it; JOIN_SCOPE for another kind.
        Conflict: its target is served by another spoke by now.
    """
    body = received.body
    assert isinstance(body, Enrol)
    print_of_signer = thumbprint(received.signer.pk)
    found: Introduction | None = Introduction.get_or_none(
        (Introduction.thumbprint == print_of_signer) & Introduction.target.is_null(False)
    )
    if found is None or not seals.holds(found):
        raise Refused(Code.JOIN_BAD, f"nobody has introduced {print_of_signer}")
    if body.kind != SpokeKind.LISTENING:
        raise Refused(Code.JOIN_SCOPE, f"introduced as a listening spoke, not as one of kind {body.kind}")
    if Spoke.select().where(Spoke.sign_kid == received.signer.kid.hex()).exists():
        raise Refused(Code.JOIN_USED, "its key belongs to a spoke already: a new enrolment makes new keys")
    target: Target = Target.get_by_id(found.target)
    seals.check(target)
    spoke = Spoke(
        id=found.id,
        name=target.name,
        kind=SpokeKind.LISTENING,
        state=SpokeState.PENDING,
        sign_pk=received.signer.pk.hex(),
        sign_kid=received.signer.kid.hex(),
        box_pk=body.box_pk,
        address=found.address,
        tls_spki=body.tls_spki,
        fleet=found.fleet,
        wants={"roles": list(target.roles), "environments": list(targeting.environments_of(target))},
        platform={part: shown(text) for part, text in asdict(body.platform).items()},
        enrol_sha256=received.frame_sha256,
        created_at=now_ms,
    )
    seals.seal(spoke)
    spoke.save(force_insert=True)
    found.delete_instance()
    detail = {"name": spoke.name, "kind": str(spoke.kind), "thumbprint": print_of_signer, "approve": "introduced"}
    record("spoke.enrol", f"spoke:{spoke.id}", actor=f"user:{found.created_by}", detail=detail)
    spokes.trust(Itself(now_ms, vault, seals, found.created_by), spoke)
    record("spoke.approve", f"spoke:{spoke.id}", actor=f"user:{found.created_by}", detail={"approve": "introduced"})
    return spoke


def checked_address(address: str, *, allow_inner: bool) -> str:
    """HOST:PORT as relays dial it.

    Raises:
        Invalid: it is none, or one that only an administrator's setting allows.
    """
    host, port = split_address(address, LISTENING_PORT)
    host = checked_host(host, allow_inner=allow_inner, field="address")
    checked_port(port, field="address")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def move(context: Acting, spoke_id: str, address: str, *, allow_inner: bool) -> Spoke:
    """Relays dial it elsewhere from now on; it must show the same key there."""
    row = spokes.find_spoke(spoke_id)
    if row.kind != SpokeKind.LISTENING:
        raise Conflict(f"spoke {row.name!r} is a {row.kind} one: nobody dials it")
    context.seals.check(row)
    row.address = checked_address(address, allow_inner=allow_inner)
    spokes.seal_and_save(context.seals, row)
    return row


def place_of(body: Enrol, *, allow_inner: bool) -> dict[str, Any]:
    """What of an enrolment says how its spoke is reached.

    Raises:
        Refused: JOIN_SCOPE where its kind needs more, or may not have it.
        Invalid: relays are not sent to that address: whoever holds a code would choose what they dial.
    """
    kind = SpokeKind(body.kind)
    if (kind is SpokeKind.LISTENING) != bool(body.address):
        raise Refused(Code.JOIN_SCOPE, "a listening spoke says where it is dialled, and no other does")
    dials = kind in {SpokeKind.LISTENING, SpokeKind.RELAY}
    if dials != bool(body.tls_spki):
        raise Refused(Code.JOIN_SCOPE, "listening spokes and relays bring the pin of their TLS key, and no other does")
    address = checked_address(body.address, allow_inner=allow_inner) if body.address else ""
    return {"address": address, "tls_spki": body.tls_spki, "fleet": DEFAULT_FLEET if dials else ""}
