"""Addresses that lead to the very machine that dials, to its nearest network or to a cloud's metadata service. PURE.

Whoever dials where somebody typed resolves the name once, looks at every address here, and dials what it looked at.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAMES = frozenset({
    "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "metadata", "metadata.google.internal",
    "instance-data",
})  # fmt: skip
_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_inner(host: str) -> bool:
    """Whether a host, as it is typed, plainly is such a place; a name is not looked up."""
    address = as_address(host)
    if address is None:
        name = host.lower().removesuffix(".")
        return name in _NAMES or name.endswith(".localhost")
    return is_inner_address(address)


def is_inner_address(address: Address) -> bool:
    inside = _carried(address)
    if inside is not None:
        return is_inner_address(inside)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA
        or (isinstance(address, ipaddress.IPv4Address) and address.packed[0] == 0)
    )


def as_address(host: str) -> Address | None:
    """The address that a text writes in full; None for a name, and for anything with a zone."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one only wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[12:])
    if address.packed[:12] == bytes(12) and int(address) > 1:
        return ipaddress.IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour
