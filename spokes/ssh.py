"""The one door to Fabric: connections to SSH hosts whose key is pinned, made without what lies about on this machine.

    TCP (no delay, dead peers noticed) -> key exchange, strict -> the pinned host key -> only now: who we are

Fabric and what it stands on take any host key, read settings of the user, the system and the environment, ask an agent
and try every key in ~/.ssh. None of that holds here: `open_connection` is the only factory, and docs/adr says why.
"""

import contextlib
import io
import ipaddress
import logging
import socket
from collections.abc import Iterator
from typing import Any

import fabric
import paramiko
from paramiko.ssh_exception import BadHostKeyException, ChannelException, IncompatiblePeer

from spokes.agent.errors import LoginRefused, MachineUnreachable
from spokes.remote.endpoint import Address, Endpoint, HostKey, Login
from wire.errors import Code, Refused, excerpt
from wire.inner_addresses import is_inner_address
from wire.secret import Secret

logger = logging.getLogger(__name__)
# What went wrong is said here, once, in our words.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CONNECT_S = 10.0
_HANDSHAKE_S = 15.0
_KEEPALIVE_S = 15
_DEAD_AFTER_MS = 30_000
_SLICE = 256 * 1024

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)


class Session:
    """One command on the host, with its input and output; nothing is decoded and nobody else reads along."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def send(self, content: bytes) -> None:
        """Raises MachineUnreachable. Sliced: the library copies what is left after every packet."""
        view = memoryview(content)
        with _said_as_lost():
            for start in range(0, len(view), _SLICE):
                self._channel.sendall(view[start : start + _SLICE])

    def receive(self, size: int, timeout_s: float | None = None) -> bytes:
        """Up to so many bytes; b"" at the end. Raises MachineUnreachable, also for silence."""
        with _said_as_lost():
            self._channel.settimeout(timeout_s)
            return bytes(self._channel.recv(size))

    def errors(self, size: int = 4096) -> bytes:
        """What the command has said on its standard error, as far as it is here."""
        with contextlib.suppress(OSError):
            if self._channel.recv_stderr_ready():
                return bytes(self._channel.recv_stderr(size))
        return b""

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


class SshConnection:
    """An open connection; used by any thread.

    `weak` says why it is only allowed because the target's settings say so, "" where it is not weak.
    """

    def __init__(self, connection: Any, weak: str) -> None:
        self._connection = connection
        self.weak = weak

    @property
    def is_alive(self) -> bool:
        transport = self._connection.transport
        return bool(transport is not None and transport.is_active())

    def session(self, command: str) -> Session:
        """Start a command; raises MachineUnreachable."""
        with _said_as_lost():
            channel = self._connection.transport.open_session(timeout=_HANDSHAKE_S)
            channel.exec_command(command)
        return Session(channel)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()


class _Strict(paramiko.Transport):  # type: ignore[misc]  # It ships no types.
    """Offers only what is safe, and goes no further with a server that does not count its first packets."""

    needs_strict = True

    def __init__(self, sock: socket.socket, **arguments: Any) -> None:
        super().__init__(sock, **arguments)
        _set_floor(self)

    def start_client(self, event: Any = None, timeout: float | None = None) -> None:
        super().start_client(event=event, timeout=timeout)
        if self.needs_strict and not self.agreed_on_strict_kex:
            raise _NotStrict


class _Tolerant(_Strict):
    needs_strict = False


class _NotStrict(Exception):
    pass


class _OnlyThePinned(paramiko.RejectPolicy):  # type: ignore[misc]  # As above.
    """Called where the host shows a key of another type than the pinned one; says which, and refuses."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise BadHostKeyException(hostname, key, next(iter(client.get_host_keys()[hostname].values())))


def open_connection(endpoint: Endpoint, *, connect_s: float = CONNECT_S) -> SshConnection:
    """Connect, compare the host's key, and only then say who we are.

    Raises:
        Refused: SSH_UNKNOWN_HOST before anything is sent, SSH_HOSTKEY or SSH_ALGO before we say who we are, SSH_ARG.
        LoginRefused: The host does not let us in.
        MachineUnreachable: Nobody answers, or not as an SSH server does.
    """
    if endpoint.host_key is None:
        raise Refused(Code.SSH_UNKNOWN_HOST, f"no key is stored for {endpoint.address}")
    key = _private_key(endpoint.login)
    sock = _dial(endpoint.address, connect_s)
    connection = _fabric_connection(endpoint, endpoint.host_key, sock, key)
    try:
        with _said_in_our_words(endpoint):
            connection.open()
        transport = connection.transport
        transport.set_keepalive(_KEEPALIVE_S)
        weak = "" if transport.agreed_on_strict_kex else f"{endpoint.address} does not do strict key exchange"
    except BaseException:
        with contextlib.suppress(Exception):
            connection.client.close()
        sock.close()
        raise
    if weak:
        logger.warning("SSH connection is weak", extra={"host": str(endpoint.address), "why": weak})
    return SshConnection(connection, weak)


def scan_host_key(address: Address, *, connect_s: float = CONNECT_S) -> HostKey:
    """The key that the host shows now, for a person to compare; nobody logs in.

    Raises:
        Refused: SSH_ALGO.
        MachineUnreachable: As above.
    """
    sock = _dial(address, connect_s)
    transport = _Tolerant(sock)
    transport.banner_timeout = _HANDSHAKE_S
    try:
        transport.start_client(timeout=_HANDSHAKE_S)
        key = transport.get_remote_server_key()
        return HostKey(key.get_name(), key.asbytes())
    except IncompatiblePeer as error:
        raise Refused(Code.SSH_ALGO, f"{address}: {excerpt(str(error))}") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise MachineUnreachable(f"{address} does not answer as an SSH server does: {excerpt(str(error))}") from error
    finally:
        transport.close()
        sock.close()


def _fabric_connection(endpoint: Endpoint, host_key: HostKey, sock: socket.socket, key: paramiko.PKey | None) -> Any:
    password = endpoint.login.password
    connection = fabric.Connection(
        endpoint.address.host,
        user=endpoint.login.user,
        port=endpoint.address.port,
        # Lazy, and with an explicit empty ssh_config: no file is read, neither fabric's nor SSH's.
        config=fabric.Config(overrides={"load_ssh_configs": False}, ssh_config=paramiko.SSHConfig(), lazy=True),
        gateway=None,
        forward_agent=False,
        connect_timeout=_HANDSHAKE_S,
        connect_kwargs={
            "sock": sock,
            "pkey": key,
            "password": None if password is None else password.reveal(),
            "look_for_keys": False,
            "allow_agent": False,
            "compress": False,
            "banner_timeout": _HANDSHAKE_S,
            "auth_timeout": _HANDSHAKE_S,
            "channel_timeout": _HANDSHAKE_S,
            "transport_factory": _Tolerant if endpoint.allow_weak else _Strict,
        },
    )
    pinned = paramiko.PKey.from_type_string(host_key.type, host_key.blob)
    address = endpoint.address
    name = address.host if address.port == 22 else f"[{address.host}]:{address.port}"
    connection.client.get_host_keys().add(name, host_key.type, pinned)
    connection.client.set_missing_host_key_policy(_OnlyThePinned())
    return connection


def _looked_up(address: Address) -> list[tuple[int, tuple[Any, ...]]]:
    """Every address behind the name, looked up once: what is dialled is what was looked at (no rebinding)."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    places: list[tuple[int, tuple[Any, ...]]] = [(family, place) for family, _, _, _, place in found]
    if not address.allow_inner and any(is_inner_address(ipaddress.ip_address(place[0])) for _, place in places):
        raise Refused(
            Code.SSH_ARG,
            f"{address.host} leads to the hub's own machine, its link or a metadata service; an administrator must "
            "allow it (MANYARM_ALLOW_INNER_TARGETS)",
        )
    return places


def _connected(places: list[tuple[int, tuple[Any, ...]]], connect_s: float) -> socket.socket:
    """The first that answers."""
    failure: OSError = OSError("the name has no address")
    for family, place in places:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(connect_s)
            sock.connect(place)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _dial(address: Address, connect_s: float) -> socket.socket:
    try:
        sock = _connected(_looked_up(address), connect_s)
    except socket.gaierror as error:
        raise MachineUnreachable(f"the name {address.host} is not known here: {error.strerror}") from error
    except TimeoutError as error:
        raise MachineUnreachable(
            f"{address} did not answer within {connect_s:.0f} s: the machine is off, or something keeps us from it"
        ) from error
    except ConnectionRefusedError as error:
        raise MachineUnreachable(f"nothing listens at {address}: is the SSH server running, on that port?") from error
    except OSError as error:
        raise MachineUnreachable(f"{address} cannot be reached: {error.strerror or error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The library's own keep-alive never notices that a network is gone.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)
    return sock


def _set_floor(transport: paramiko.Transport) -> None:
    options = transport.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _MACS
    options.key_types = _KEYS
    options.kex = tuple(name for name in _KEX if name in options.kex)


@contextlib.contextmanager
def _said_in_our_words(endpoint: Endpoint) -> Iterator[None]:
    address, login = endpoint.address, endpoint.login
    try:
        yield
    except BadHostKeyException as error:
        found = HostKey(error.key.get_name(), error.key.asbytes())
        expected = endpoint.host_key
        raise Refused(
            Code.SSH_HOSTKEY,
            f"host key changed: expected {expected.fingerprint if expected else 'none'}, found {found.fingerprint}",
        ) from error
    except _NotStrict as error:
        raise Refused(
            Code.SSH_ALGO,
            f"{address} does not do strict key exchange; until it is upgraded, only allow_weak lets it in",
        ) from error
    except IncompatiblePeer as error:
        raise Refused(Code.SSH_ALGO, f"{address}: {excerpt(str(error))}") from error
    except paramiko.AuthenticationException as error:
        raise LoginRefused(
            f"{address} does not let user {login.user} in with the {login.means} of the target's account"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise MachineUnreachable(f"{address} does not answer as an SSH server does: {excerpt(str(error))}") from error


@contextlib.contextmanager
def _said_as_lost() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise MachineUnreachable("the connection went silent") from error
    except ChannelException as error:
        raise MachineUnreachable(f"the SSH server opens no session: {excerpt(str(error))}") from error
    except (paramiko.SSHException, OSError, EOFError, AttributeError) as error:
        raise MachineUnreachable(f"the connection was lost: {excerpt(str(error))}") from error


def _private_key(login: Login) -> paramiko.PKey | None:
    if login.private_key is None:
        return None
    passphrase = None if login.passphrase is None else login.passphrase.reveal()
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        found = _as(kind, login.private_key, passphrase)
        if found is not None:
            return found
    raise Refused(
        Code.SSH_ARG,
        "the private key of the target's account cannot be read: expected an OpenSSH key (ssh-keygen -t ed25519), "
        "and its passphrase if it has one",
    )


def _as(kind: type[paramiko.PKey], key: Secret, passphrase: str | None) -> paramiko.PKey | None:
    try:
        return kind.from_private_key(io.StringIO(key.reveal()), password=passphrase)
    except (paramiko.SSHException, ValueError, TypeError, IndexError, UnicodeError):
        return None
