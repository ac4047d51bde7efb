"""CloudEvents 1.0 as JSON, and the same attributes as headers: what is published, byte for byte. PURE."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.queries.listing import time_text
from wire.connection import Properties

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SEQUENCE_DIGITS = 20
# Of the interoperable size of a CloudEvent; what would be larger is none of our types.
MAX_BYTES = 64 * 1024
_HEADER_PREFIX = "cloudEvents_"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """`sequence` counts from 1 in each source, without holes; 0 for what is no event but an answer."""

    id: str
    source: str
    type: str
    subject: str
    at_ms: int
    sequence: int
    data_schema: str
    correlation_id: str
    data: Mapping[str, Any]

    @property
    def attributes(self) -> dict[str, str]:
        """All but the data."""
        found = {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": time_text(self.at_ms),
            "datacontenttype": "application/json",
            "dataschema": self.data_schema,
            "sequence": sequence_text(self.sequence) if self.sequence else "",
            "correlationid": self.correlation_id,
        }
        return {name: value for name, value in found.items() if value}

    def text(self) -> str:
        return json.dumps(self.attributes | {"data": dict(self.data)}, ensure_ascii=True, separators=(",", ":"))


def sequence_text(sequence: int) -> str:
    """So long that texts sort as the numbers do."""
    return str(sequence).zfill(SEQUENCE_DIGITS)


def properties_of(body: Mapping[str, Any], app_id: str, at_ms: int) -> Properties:
    """The AMQP properties of a CloudEvent: every attribute once more, for those that route and filter."""
    attributes = {name: value for name, value in body.items() if name != "data" and isinstance(value, str)}
    return Properties(
        content_type=CONTENT_TYPE,
        type=attributes.get("type", ""),
        app_id=app_id,
        correlation_id=attributes.get("correlationid", ""),
        timestamp_s=at_ms // 1000,
        headers={f"{_HEADER_PREFIX}{name}": value for name, value in attributes.items()},
    )
