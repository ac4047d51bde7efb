"""The one spelling of a name for looking up, limiting and comparing. PURE.

Without it `Ann`, `ANN` and `Ａnn` would be three accounts to a limiter and one to a reader.
"""

import ipaddress
import unicodedata

from hub.errors import Invalid

NAME_MAX = 100


def name_key(name: str) -> str:
    """The normalised form: NFKC, case folded, no space around.

    Raises:
        Invalid: it is empty or too long, or has control, direction or private characters in it.
    """
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    if not key or len(name) > NAME_MAX or len(key) > 2 * NAME_MAX:
        raise Invalid(f"a name has 1 to {NAME_MAX} characters", field="name")
    if any(unicodedata.category(character)[0] == "C" for character in name + key):
        raise Invalid("a name has no control characters", field="name")
    return key


def address_key(address: str) -> str:
    """Who counts as one visitor: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address) + "/64"
    return str(parsed)
