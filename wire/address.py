"""host:port, as a person types it and as parties name a place to each other. PURE."""

import re
from typing import Annotated

from wire.schema import Text

ADDRESS_MAX = 255
PATTERN = (
    r"([A-Za-z0-9]([A-Za-z0-9.-]{0,248}[A-Za-z0-9])?|\[[0-9a-fA-F:.]{2,45}\])"
    r":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
Address = Annotated[str, Text(ADDRESS_MAX, PATTERN)]
AddressOrEmpty = Annotated[str, Text(ADDRESS_MAX, f"({PATTERN})?")]

_WHOLE = re.compile(PATTERN, re.ASCII)


def is_address(text: str) -> bool:
    """Whether this is a name or IP address, a colon and a port; an IPv6 address stands in brackets."""
    return len(text) <= ADDRESS_MAX and _WHOLE.fullmatch(text) is not None


def split_address(text: str) -> tuple[str, int]:
    """Host without brackets, and port.

    Raises:
        ValueError: it is no address.
    """
    if not is_address(text):
        raise ValueError(f"expected host:port, found {text[:80]!r}")
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
