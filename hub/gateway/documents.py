"""What a spoke may know before it is known: the chain of trust documents, and the hub's certified box key."""

import struct

from flask import Blueprint, Response, request

from hub.errors import Invalid
from hub.gateway.parts import GatewayParts
from hub.storage.hub_keys import box_document
from hub.storage.models import TrustFrame

_LENGTH = struct.Struct(">I")
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
    body = b"".join(_LENGTH.pack(len(row.frame)) + row.frame for row in rows)
    return Response(body, mimetype="application/octet-stream")


def _box() -> Response:
    return Response(box_document(), mimetype="application/octet-stream")
