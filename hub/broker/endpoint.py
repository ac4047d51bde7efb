"""Where the broker is, for each of the hub's processes: the private node, or the one that the settings name."""

from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit

from config.settings import HubSettings, parse_address
from hub.broker.admin import BrokerAdmin
from hub.broker.credentials import admin_password, hub_password, portal_password
from hub.storage.vault import Vault
from wire import integration_topology
from wire.tls import TlsContext, client_context, public_client_context
from wire.topology import ADMIN_USER, HUB_USER, PORTAL_USER, VHOST
from wire.trust import TrustChain

ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104  Compared, not bound.


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Scheme and host:port of AMQP; user and password only where the settings name an existing broker's."""

    scheme: str
    address: str
    user: str = ""
    password: str = field(default="", repr=False)
    vhost: str = VHOST

    def url(self, user: str, password: str) -> str:
        named = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"{self.scheme}://{named}@{self.address}/{quote(self.vhost, safe='')}"


def endpoint(settings: HubSettings) -> Endpoint:
    """The broker that the settings mean."""
    if not settings.broker_url:
        host, port = parse_address(settings.broker_bind)
        return Endpoint("amqp" if host in {"127.0.0.1", "::1", "localhost"} else "amqps", _local(host, port))
    parts = urlsplit(settings.broker_url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    return Endpoint(
        parts.scheme,
        f"{parts.hostname}:{port}",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        unquote(parts.path.removeprefix("/")) or VHOST,
    )


def hub_url(settings: HubSettings, vault: Vault) -> str:
    """What the engine connects with."""
    found = endpoint(settings)
    return found.url(found.user, found.password) if found.user else found.url(HUB_USER, hub_password(vault))


def integration_url(settings: HubSettings, vault: Vault) -> str:
    """What the engine meets integrations with: as itself, in their virtual host."""
    found = replace(endpoint(settings), vhost=integration_topology.VHOST)
    return found.url(hub_user(settings), found.password or hub_password(vault))


def hub_user(settings: HubSettings) -> str:
    """Whom the engine connects as."""
    return endpoint(settings).user or HUB_USER


def portal_url(settings: HubSettings, vault: Vault) -> str:
    """What the portal connects with: a user that may write intents and nothing else."""
    return endpoint(settings).url(PORTAL_USER, portal_password(vault))


def near_url(settings: HubSettings) -> str:
    """What spokes on this machine are told, in the same way."""
    found = endpoint(settings)
    return f"{found.scheme}://{found.address}"


def public_url(settings: HubSettings) -> str:
    """What spokes are told; their user and password come beside it."""
    found = endpoint(settings)
    return f"{found.scheme}://{settings.broker_public or found.address}"


def pin(settings: HubSettings, chain: TrustChain) -> str:
    """The key that the broker must show: our own node's, where it speaks TLS; "" where no pin of ours counts."""
    if settings.broker_url or endpoint(settings).scheme != "amqps":
        return ""
    return next((pinned.spki for pinned in chain.document.tls_pins if pinned.role == "broker"), "")


def tls_context(settings: HubSettings, chain: TrustChain) -> TlsContext | None:
    """How the hub's own processes check the broker; None on plain TCP, which is for loopback alone."""
    if endpoint(settings).scheme != "amqps":
        return None
    pinned = pin(settings, chain)
    return client_context([pinned]) if pinned else public_client_context()


def administrator(settings: HubSettings, vault: Vault, vhost: str = VHOST) -> BrokerAdmin:
    """The hand at the broker's HTTP API: the private node's, or the one that the settings name with its credentials."""
    parts = urlsplit(settings.broker_admin_url)
    bare = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    if parts.username:
        return BrokerAdmin(bare, unquote(parts.username), unquote(parts.password or ""), vhost)
    return BrokerAdmin(bare, ADMIN_USER, admin_password(vault), vhost)


def _local(host: str, port: int) -> str:
    return f"{'127.0.0.1' if host in ANY else host}:{port}"


def trouble(state: str) -> str:
    """What the state of a connection to the broker means to people who wait; "" where all is well."""
    if state == "connected":
        return ""
    if state == "blocked":
        return "the broker takes no messages, its disk or memory is short"
    return "the hub has no connection to the broker"
