"""PURE. Hosts, ports, users and host keys as people type them: checked letter by letter, for programs will read them.

A host or a user that begins with "-" or holds a space could be an option or a second command to some tool; none gets
past here. Addresses of this machine and of its nearest network are refused unless an administrator allows them.
"""

import base64
import binascii
import hashlib
import re
import struct

from hub.errors import Invalid
from wire.inner_addresses import as_address, is_inner

SSH_PORT = 22
HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}([$]|@[A-Za-z0-9][A-Za-z0-9.-]{0,100})?")
_PATH = re.compile(r"~?(/[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*)+")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def checked_user(user: str, field: str = "user") -> str:
    if not _USER.fullmatch(user):
        raise Invalid(
            "expected a user name: letters, digits, _ . and -, beginning with a letter or _",
            field=field,
            code="SSH_ARG",
        )
    return user


def checked_host(host: str, *, allow_inner: bool, field: str = "host") -> str:
    """A name or an address, in lower case.

    Raises:
        Invalid: it is neither, or one that targets may not have.
    """
    address = as_address(host)
    if address is None:
        labels = host.removesuffix(".").split(".")
        if (
            len(host) > 253
            or not all(_LABEL.fullmatch(label) for label in labels)
            or _LOOKS_NUMERIC.fullmatch(labels[-1])
        ):
            raise Invalid("expected a host name or an IP address", field=field, code="SSH_ARG")
    if not allow_inner and is_inner(host):
        raise Invalid(
            "this address is the hub's own machine, its nearest network or a cloud's metadata service: "
            "an administrator must allow it (MANYARM_ALLOW_INNER_TARGETS)",
            field=field,
            code="SSH_ARG",
        )
    return host.lower().removesuffix(".") if address is None else str(address)


def checked_path(path: str, field: str) -> str:
    """A folder or a program on the target, absolute or below ~; "" stays as it is."""
    if path and not _PATH.fullmatch(path):
        raise Invalid(
            "expected an absolute path, or one below ~/, of letters, digits and / . _ + @ -",
            field=field,
            code="SSH_ARG",
        )
    return path


def checked_port(port: int, field: str = "port") -> int:
    if not 1 <= port <= 65_535:
        raise Invalid("expected a port from 1 to 65535", field=field, code="SSH_ARG")
    return port


def split_address(text: str, default_port: int, field: str = "address") -> tuple[str, int]:
    """HOST, HOST:PORT, [V6] or [V6]:PORT apart; nothing is checked but the port's digits."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        if not closed or (rest and not rest.startswith(":")):
            raise Invalid("expected HOST:PORT", field=field, code="SSH_ARG")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise Invalid("expected HOST:PORT", field=field, code="SSH_ARG")
    return host, int(port) if port else default_port


def checked_host_key(text: str, field: str = "host_key") -> str:
    """`type base64`, without a comment.

    Raises:
        Invalid: it is no public key of a type that is accepted.
    """
    parts = text.split()
    if len(parts) < 2 or parts[0] not in HOST_KEY_TYPES:
        raise Invalid("expected a public host key: `ssh-ed25519 AAAA…`", field=field, code="SSH_ARG")
    blob = _decoded(parts[1])
    if blob is None or _first_text(blob) != parts[0]:
        raise Invalid("this is no whole public key", field=field, code="SSH_ARG")
    return f"{parts[0]} {parts[1]}"


def fingerprint_of(host_key: str) -> str:
    """SHA256:… as `ssh-keygen -lf` shows it."""
    digest = hashlib.sha256(_decoded(host_key.split()[1]) or b"").digest()
    return f"SHA256:{base64.b64encode(digest).decode('ascii').rstrip('=')}"


def checked_fingerprint(text: str, field: str = "fingerprint") -> str:
    found = text.strip().rstrip("=")
    if not _FINGERPRINT.fullmatch(found):
        raise Invalid("expected a fingerprint as `ssh-keygen -lf` shows it: SHA256:…", field=field, code="SSH_ARG")
    return found


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _first_text(blob: bytes) -> str:
    if len(blob) < 4:
        return ""
    size = struct.unpack(">I", blob[:4])[0]
    return blob[4 : 4 + size].decode("ascii", "replace") if len(blob) > 4 + size else ""
