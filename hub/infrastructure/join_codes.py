"""Join codes: what an administrator copies to a new machine; one use, short-lived, the hub keeps a hash alone."""

import hashlib
import secrets
from dataclasses import dataclass

from hub.acting import Acting
from hub.errors import Conflict, Invalid, NotFound
from hub.infrastructure.targets import checked_roles
from hub.states import Approval, SpokeKind
from hub.storage.models import Environment, JoinToken
from wire.errors import Refused
from wire.join_code import JoinCode
from wire.secret import Secret

DEFAULT_TTL_S = 30 * 60
MAX_TTL_S = 24 * 3600
MIN_TTL_S = 60
SPOKE = "spoke"
KINDS_OF_ROLE = {
    SPOKE: frozenset({SpokeKind.POLLING, SpokeKind.LISTENING}),
    **{str(kind): frozenset({kind}) for kind in (SpokeKind.RELAY, SpokeKind.SSH, SpokeKind.LOCAL)},
}
"""Which kinds of spoke a code of that role lets in: on a target one's own choice, beside the hub exactly one."""


@dataclass(frozen=True, slots=True)
class JoinCodeRequest:
    """What the new spoke may be.

    Attributes:
        role: One of KINDS_OF_ROLE.
        name_pattern: `web-*`; empty: any name.
        roles: Of its target; empty: those that it asks for.
        environments: Ids; empty: those that it asks for.
        approve: By hand, or by the code alone.
        ttl_s: How long it may be used.
    """

    role: str = SPOKE
    name_pattern: str = ""
    roles: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    approve: Approval = Approval.MANUAL
    ttl_s: int = DEFAULT_TTL_S


@dataclass(frozen=True, slots=True)
class CreatedJoinCode:
    """The only moment at which the code is known."""

    row: JoinToken
    code: Secret


def create_join_code(
    context: Acting, request: JoinCodeRequest, *, root_thumbprint: bytes, address: str
) -> CreatedJoinCode:
    """A new code.

    Args:
        context: Who makes it.
        request: What it is good for.
        root_thumbprint: SHA-256 of the hub's root key: whom the new spoke will believe.
        address: host:port of the gateway, as the new spoke reaches it.
    """
    _check(request)
    token_id, secret = secrets.token_bytes(8), secrets.token_bytes(16)
    row = JoinToken(
        id=token_id.hex(),
        secret_sha256=hashlib.sha256(secret).hexdigest(),
        role=request.role,
        name_pattern=request.name_pattern,
        roles=checked_roles(request.roles),
        environments=list(dict.fromkeys(request.environments)),
        approve=request.approve,
        created_by=context.caller.user_id,
        created_at=context.now_ms,
        expires_at=context.now_ms + request.ttl_s * 1_000,
    )
    try:
        code = JoinCode(root_thumbprint, token_id, secret, address)
    except Refused as refusal:
        raise Invalid(
            f"the gateway's public name {address!r} is no host:port: set MANYARM_PUBLIC_NAME", field="public_name"
        ) from refusal
    context.seals.seal(row)
    row.save(force_insert=True)
    return CreatedJoinCode(row, Secret(code.text))


def revoke_join_code(context: Acting, token_id: str) -> JoinToken:
    """Nobody enrols with it any more.

    Raises:
        Conflict: somebody has: that spoke is to be revoked instead.
    """
    row: JoinToken | None = JoinToken.get_or_none(JoinToken.id == token_id)
    if row is None:
        raise NotFound("no such join code")
    if row.used_at is not None:
        raise Conflict("this join code has been used: revoke the spoke that it became")
    if row.revoked_at is None:
        row.revoked_at = context.now_ms
        context.seals.seal_end(row)
        row.save()
    return row


def _check(request: JoinCodeRequest) -> None:
    if request.role not in KINDS_OF_ROLE:
        raise Invalid(f"expected one of {', '.join(KINDS_OF_ROLE)}", field="role")
    if not MIN_TTL_S <= request.ttl_s <= MAX_TTL_S:
        raise Invalid(f"expected {MIN_TTL_S} to {MAX_TTL_S} seconds", field="ttl_s")
    if len(request.name_pattern) > 100 or not request.name_pattern.isprintable():
        raise Invalid("expected at most 100 printable characters, such as web-*", field="name_pattern")
    known = Environment.select().where(Environment.id.in_(list(request.environments))).count()
    if known != len(set(request.environments)):
        raise Invalid("no such environment", field="environments")
