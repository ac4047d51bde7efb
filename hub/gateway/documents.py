"""What a spoke may know before it is known: the chain of trust documents, and the hub's certified box key."""

from flask import Blueprint, Response, request

from hub.errors import Invalid
from hub.gateway.parts import GatewayParts
from hub.storage.hub_keys import box_document
from hub.storage.models import TrustFrame
from wire.frame_list import join_frames

# A spoke that slept for years walks on with a second request.
_FRAMES_MAX = 200


def routes(_parts: GatewayParts) -> Blueprint:
    """Public by design: both are signed, and neither is secret."""
    here = Blueprint("documents", __name__)
    here.get("/gateway/v1/trust")(_trust)
    here.get("/gateway/v1/box")(_box)
    return here


def _trust() -> Response:
    text = request.args.get("from", "1")
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Invalid("expected the number of a version", field="from")
    rows = TrustFrame.select().where(TrustFrame.version >= int(text)).order_by(TrustFrame.version).limit(_FRAMES_MAX)
    body = join_frames(row.frame for row in rows)
    return Response(body, mimetype="application/octet-stream")


def _box() -> Response:
    return Response(box_document(), mimetype="application/octet-stream")
