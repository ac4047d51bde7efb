"""Whom a relay dials: the signed fleet, for relays alone, known by the certificate that they show in TLS."""

from flask import Blueprint, Response, request

from hub.gateway.parts import GatewayParts
from hub.states import SpokeKind, SpokeState
from hub.storage.hub_trust import trust_chain
from hub.storage.models import FleetFrame, Spoke
from wire.errors import Code, Refused
from wire.tls import spki_sha256


def routes(parts: GatewayParts) -> Blueprint:
    """Asked every few seconds: what has not changed is not sent again."""
    here = Blueprint("fleet", __name__)

    def fleet() -> Response:
        name = _relay(parts).fleet
        row: FleetFrame | None = FleetFrame.get_or_none(FleetFrame.fleet == name)
        if row is None:
            return Response(status=503, headers={"Retry-After": "1"})
        answer = Response(row.frame, mimetype="application/octet-stream")
        answer.set_etag(row.sha256)
        answer.make_conditional(request)
        return answer

    here.get("/gateway/v1/fleet")(fleet)
    return here


def _relay(parts: GatewayParts) -> Spoke:
    """The relay at the other end of this connection.

    The trust document decides, and the row: where the root key is offline, a revoked relay's pin outlives its row.

    Raises:
        Refused: TLS_NOCERT, TLS_PIN.
    """
    certificate = parts.peer_certificate(request.environ)
    if not certificate:
        raise Refused(Code.TLS_NOCERT, "only a relay may ask, and it shows its certificate")
    found = spki_sha256(certificate)
    if found not in trust_chain().document.pins("relay"):
        raise Refused(Code.TLS_PIN, "no relay of this hub has this key")
    row: Spoke | None = Spoke.get_or_none(
        (Spoke.tls_spki == found) & (Spoke.kind == SpokeKind.RELAY) & (Spoke.state == SpokeState.TRUSTED)
    )
    if row is None:
        raise Refused(Code.TLS_PIN, "this relay is not trusted any more")
    return row
