"""Everything that can go wrong between two parties, as one tree and one closed table of codes.

    WireError
    ├── Refused          input that we will not act on: has a code, a field, a reference
    ├── ConnectionLost   the broker or the peer went away; the caller tries again
    ├── Unroutable       no queue wanted the message
    ├── Nacked           the broker (or our own full queue) said no
    └── BrokerRefused    the broker knows us and will not let us

The codes stand in wire/codes.py.
"""

import re
import secrets

from wire.codes import EXPLANATIONS, Code, Explanation

__all__ = [
    "EXPLANATIONS",
    "BrokerRefused",
    "Code",
    "ConnectionLost",
    "Explanation",
    "Nacked",
    "Refused",
    "Unroutable",
    "WireError",
    "excerpt",
    "field_name",
]

PEER_TEXT_MAX = 80

_FIELD_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")


def excerpt(peer_text: object) -> str:
    """Text from a stranger, fit for a log line: ASCII, escaped, at most 80 characters."""
    shown = ascii(peer_text[: PEER_TEXT_MAX + 1] if isinstance(peer_text, str | bytes) else peer_text)
    return shown if len(shown) <= PEER_TEXT_MAX else shown[: PEER_TEXT_MAX - 1] + "…"


def field_name(peer_text: str) -> str:
    """A field's name as it stands if it looks like one of ours, else its excerpt."""
    return peer_text if _FIELD_NAME.fullmatch(peer_text) else excerpt(peer_text)


class WireError(Exception):
    """Base of all that this room raises."""


class Refused(WireError):
    """Input that we will not act on.

    Attributes:
        code: Which rule it broke.
        detail: What was found; peer text only through `excerpt`, never key bytes or secrets.
        field: Dotted path of the field at fault, if one is.
        ref: Eight hex characters that stand in our log and in the answer.
        mid: The message refused, if its signature held: then (only then) a signed reject is due.
        cid: The job that the message named, if its signature held.
    """

    def __init__(self, code: Code, detail: str = "", *, field: str | None = None) -> None:
        self.code = code
        self.detail = detail
        self.field = field
        self.ref = secrets.token_hex(4)
        self.mid = ""
        self.cid = ""
        super().__init__(code, detail)

    @property
    def explanation(self) -> Explanation:
        return EXPLANATIONS[self.code]

    def __str__(self) -> str:
        found = f" ({self.detail})" if self.detail else ""
        return f"{self.code}: {self.explanation.sentence}{found} {self.explanation.advice} [{self.ref}]"


class ConnectionLost(WireError):
    """The broker or peer went away; what was not confirmed may or may not have arrived."""


class Unroutable(WireError):
    """No queue is bound for this message."""


class Nacked(WireError):
    """The broker did not take the message, or our bounded queue to it stayed full."""


class BrokerRefused(WireError):
    """The broker denied us."""

    def __init__(self, user: str, vhost: str, why: str) -> None:
        self.user = user
        self.vhost = vhost
        self.why = why
        super().__init__(f"the broker refused user {user!r} on virtual host {vhost!r}: {why}")
