"""Where a target is reached by SSH, and as whom: read from the command, and nothing of it is ever an option. PURE.

Every text is held against what it may look like before anything is done with it, so that no name of a host or user,
no path and no unknown key can turn into an option, a command or another place.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wire.errors import Code, Refused, excerpt
from wire.messages import Command
from wire.secret import Secret

ENDPOINT = "endpoint"
SECRET_PREFIX = "Manyarm.Endpoint."  # noqa: S105  The beginning of names, not a secret.
HOST_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")

_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?"
)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}([$]|@[A-Za-z0-9][A-Za-z0-9.-]{0,100})?")
_PATH = re.compile(r"(~/|/)[A-Za-z0-9_.+@-]+(/[A-Za-z0-9_.+@-]+)*")
_KNOWN = frozenset(
    {
        "kind", "host", "port", "user", "host_key", "home", "python", "account", "account_kind", "allow_weak",
        "allow_inner",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key: its type, and the bytes that SSH sends for it."""

    type: str
    blob: bytes

    @classmethod
    def parse(cls, text: str) -> "HostKey":
        """Of `ssh-ed25519 AAAA…`, perhaps with a comment; Refused(SSH_ARG) for anything else."""
        kind, _, rest = text.strip().partition(" ")
        try:
            blob = base64.b64decode(rest.partition(" ")[0], validate=True)
        except (binascii.Error, ValueError):
            blob = b""
        named = kind.encode()
        if kind not in HOST_KEY_TYPES or not blob.startswith(struct.pack(">I", len(named)) + named):
            raise Refused(Code.SSH_ARG, f"the host key is {excerpt(text)}; expected such as: ssh-ed25519 AAAA…")
        return cls(kind, blob)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Address:
    """`allow_inner`: whether it may be on the very machine that dials; the hub says no unless an administrator does."""

    host: str
    port: int
    allow_inner: bool = True

    @classmethod
    def of(cls, endpoint: Mapping[str, Any]) -> "Address":
        """Refused(SSH_ARG) for what is no host or port."""
        host, port = endpoint.get("host"), endpoint.get("port", 22)
        if not isinstance(host, str) or not (_HOST.fullmatch(host) or _is_ip(host)):
            raise Refused(Code.SSH_ARG, f"the host is {excerpt(host)}; expected a name or an address")
        if type(port) is not int or not 0 < port < 65_536:
            raise Refused(Code.SSH_ARG, f"the port is {excerpt(port)}; expected 1 to 65535")
        allow_inner = endpoint.get("allow_inner", True)
        if not isinstance(allow_inner, bool):
            raise Refused(Code.SSH_ARG, "allow_inner is neither true nor false")
        return cls(host, port, allow_inner)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """As whom, and by what: a private key or a password."""

    user: str
    private_key: Secret | None = field(repr=False)
    passphrase: Secret | None = field(repr=False)
    password: Secret | None = field(repr=False)

    @property
    def means(self) -> str:
        return "key" if self.private_key is not None else "password"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """All that there is to know to reach a target; `home` and `python` are "" where nobody chose them."""

    address: Address
    login: Login
    host_key: HostKey | None
    home: str
    python: str
    allow_weak: bool

    @classmethod
    def of(cls, command: Command) -> "Endpoint":
        """Raises Refused(SSH_ARG)."""
        found = command.job.get(ENDPOINT)
        if not isinstance(found, dict) or found.get("kind", "ssh") != "ssh":
            raise Refused(Code.SSH_ARG, "the command does not say where its SSH target is")
        unknown = sorted(set(found) - _KNOWN)
        if unknown:
            raise Refused(Code.SSH_ARG, f"an SSH target has no setting {excerpt(unknown[0])}")
        allow_weak = found.get("allow_weak", False)
        if not isinstance(allow_weak, bool):
            raise Refused(Code.SSH_ARG, "allow_weak is neither true nor false")
        host_key = _text(found, "host_key")
        if _text(found, "python").startswith("~"):
            raise Refused(Code.SSH_ARG, "python is named by its whole path")
        return cls(
            Address.of(found),
            _login(_text(found, "user"), command.secrets),
            HostKey.parse(host_key) if host_key else None,
            _path(found, "home"),
            _path(found, "python"),
            allow_weak,
        )


def target_of(command: Command) -> str:
    """The id of the target that the command is for."""
    target = command.job.get("target")
    found = target.get("id") if isinstance(target, dict) else None
    if not isinstance(found, str) or not re.fullmatch(r"[0-9a-f]{32}", found):
        raise Refused(Code.SSH_ARG, "the command does not say for which target it is")
    return found


def _login(user: str, secrets: Mapping[str, str]) -> Login:
    if not _USER.fullmatch(user):
        raise Refused(Code.SSH_ARG, f"the user is {excerpt(user)}; expected the name of a user")
    key, passphrase, password = (
        Secret(secrets[SECRET_PREFIX + name]) if secrets.get(SECRET_PREFIX + name) else None
        for name in ("private_key", "passphrase", "password")
    )
    if key is None and password is None:
        raise Refused(Code.SSH_ARG, "the target's account has neither a private key nor a password")
    return Login(user, key, passphrase, None if key is not None else password)


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise Refused(Code.SSH_ARG, f"{name} is no text")
    return value


def _path(found: Mapping[str, Any], name: str) -> str:
    value = _text(found, name)
    if value and (not _PATH.fullmatch(value) or ".." in value.split("/")):
        raise Refused(Code.SSH_ARG, f"{name} is {excerpt(value)}; expected a plain absolute path")
    return value


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host
