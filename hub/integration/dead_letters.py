"""Commands that came to nothing: kept for people at the dead exchange, with the reason, without the token. PURE."""

import json
import re
from typing import Any

from hub.api import strict_json
from wire.connection import Delivery, Outgoing, Properties
from wire.integration_topology import DEAD

# Five words, as everywhere on the integrations' side.
KEY = "default._._.command.refused"
MAX_BYTES = 64 * 1024
_TOKEN = re.compile(rb"mak_[0-9a-f]{8}_[A-Za-z0-9_-]+")
_DETAIL_MAX = 500


def dead_letter(delivery: Delivery, code: str, detail: str) -> Outgoing:
    """The message as it came, as far as it may be shown; a token stands in no header and not in the body either."""
    headers = {
        "manyarm_code": code,
        "manyarm_detail": detail[:_DETAIL_MAX],
        "manyarm_user": delivery.user_id[:200],
        "manyarm_key": delivery.key[:255],
        "manyarm_message_id": delivery.message_id[:200],
    }
    return Outgoing(
        exchange=DEAD,
        key=KEY,
        body=_shown(delivery.body[:MAX_BYTES]),
        mandatory=False,
        properties=Properties(content_type="application/octet-stream", type=f"refused:{code}", headers=headers),
    )


def _shown(body: bytes) -> bytes:
    try:
        parsed: Any = strict_json.parse(body)
    except strict_json.NotStrictJson:
        return _TOKEN.sub(b"mak_***", body)
    data = parsed.get("data")
    if isinstance(data, dict) and isinstance(data.get("variables"), dict):
        # Whoever deploys may type a secret here.
        data["variables"] = dict.fromkeys(data["variables"], "***")
    return _TOKEN.sub(b"mak_***", json.dumps(parsed).encode())
