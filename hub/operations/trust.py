"""Keys, as operations: rotate the hub's own or a spoke's, put a new spoke in the place of one that lost its keys."""

from typing import Literal

from hub.errors import Conflict
from hub.infrastructure import spokes
from hub.operations.body import Body, Line, Ref, Reply
from hub.operations.context import Context
from hub.operations.operation import Done, Operation
from hub.permissions import Permission
from hub.queries.infrastructure import SpokeView, spoke_row, spoke_view
from hub.states import SpokeKind, SpokeState
from hub.trust.replacing import replace_spoke
from hub.trust.rotation import KeyName, rotate
from hub.trust.telling import order
from wire.messages import Op


class RotateKey(Body):
    """`revoke`: the old key counts no longer from now on, for somebody else may have it."""

    key: Literal["command", "box", "portal", "rows", "release", "audit", "root"]
    revoke: bool = False
    reason: Line = ""


class KeyRotated(Reply):
    """`notice` is "" where the new key is in use, else it says what somebody must do first."""

    id: str
    key: str
    trust_version: int
    notice: str


class RotateSpoke(Body):
    spoke: Ref


class SpokeAsked(Reply):
    """`notice`: what happens next, and when."""

    id: str
    notice: str


class ReplaceSpoke(Body):
    """`spoke` waits for approval, `replaces` is the one whose keys are lost; `thumbprint` is what was compared."""

    spoke: Ref
    replaces: Ref
    thumbprint: Line = ""


def _rotate(context: Context, body: RotateKey) -> Done:
    made = rotate(context, KeyName(body.key), revoke=body.revoke, reason=body.reason)
    published = made.published
    reply = KeyRotated(id=made.kid, key=body.key, trust_version=published.version, notice=published.sentence)
    return Done(reply, f"hub-key:{made.kid}", recorded=True)


def _rotate_spoke(context: Context, body: RotateSpoke) -> Done:
    row = spoke_row(body.spoke)
    if row.state != SpokeState.TRUSTED:
        raise Conflict(f"spoke {row.name!r} is {row.state}: only a trusted one has keys to rotate")
    if row.kind == SpokeKind.RELAY:
        raise Conflict(f"{row.name!r} is a relay, whose key stands in the trust document: revoke it, and enrol it anew")
    order(row.id, Op.ROTATE_KEYS, context.now_ms)
    notice = "it is asked now if it is there; where it does not answer within 15 minutes, ask again"
    if row.kind == SpokeKind.LISTENING:
        notice += "; its signing key stays, for it stands in the certificate that relays know it by"
    return Done(SpokeAsked(id=row.id, notice=notice), f"spoke:{row.id}", detail={"name": row.name})


def _replace(context: Context, body: ReplaceSpoke) -> Done:
    new, old = spoke_row(body.spoke), spoke_row(body.replaces)
    if body.thumbprint and not spokes.has_thumbprint(new, body.thumbprint):
        raise Conflict("this is not the spoke's thumbprint: do not trust it", field="thumbprint")
    notice = replace_spoke(context, new, old)
    detail = {"name": new.name, "replaces": old.id, "thumbprint": spokes.thumbprint_of(new)}
    return Done(spoke_view(new, notice), f"spoke:{new.id}", detail=detail)


OPERATIONS = (
    Operation(
        "key.rotate",
        "Put a new key in the place of one of the hub's own",
        RotateKey,
        KeyRotated,
        Permission.KEY_EDIT,
        _rotate,
        step_up=True,
    ),
    Operation(
        "spoke.rotate",
        "Have a spoke make new keys of its own",
        RotateSpoke,
        SpokeAsked,
        Permission.SPOKE_APPROVE,
        _rotate_spoke,
        step_up=True,
    ),
    Operation(
        "spoke.replace",
        "Trust a pending spoke in the place of one whose keys are lost",
        ReplaceSpoke,
        SpokeView,
        Permission.SPOKE_APPROVE,
        _replace,
        step_up=True,
    ),
)
