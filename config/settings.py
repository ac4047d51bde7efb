"""What can be set: a frozen class for the hub and one for a spoke, read from a TOML file, then the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from config.errors import SettingsInvalid
from config.limits import HubLimits, SpokeLimits
from config.reading import read_settings

Address = tuple[str, int]
HOUSE_SPOKES = ("relay", "ssh", "local")
LOCAL_HOMES = Path("/var/lib/manyarm-local")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def parse_address(text: str) -> Address:
    """`host:port` or `[v6]:port` as (host, port).

    Raises:
        ValueError: It is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is no address; expected host:port, such as 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  An empty host means every address, as in other tools.


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """Settings of engine, portal, gateway and the private broker. Config/hub.toml explains each key."""

    home: Path
    database_url: str = ""
    broker_url: str = ""
    broker_admin_url: str = ""
    broker_bind: str = "127.0.0.1:5673"
    broker_public: str = ""
    public_name: str = ""
    portal_bind: str = "127.0.0.1:8080"
    portal_tls: str = "off"
    portal_origin: str = ""
    gateway_bind: str = "0.0.0.0:8443"
    master_key: str = ""
    kek_file: str = ""
    house_spokes: tuple[str, ...] = HOUSE_SPOKES
    local_home: str = ""
    trusted_proxies: tuple[str, ...] = ()
    allow_inner_targets: bool = False
    log_level: str = "INFO"
    log_style: str = "text"
    limits: HubLimits = field(default_factory=HubLimits)

    def __post_init__(self) -> None:
        for name in ("broker_bind", "portal_bind", "gateway_bind"):
            _named(name, getattr(self, name))
        for name in ("public_name", "broker_public"):
            if getattr(self, name):
                _named(name, getattr(self, name))
        for kind in self.house_spokes:
            _one_of("house_spokes", kind, HOUSE_SPOKES)
        _one_of("log_level", self.log_level, ("DEBUG", "INFO", "WARNING", "ERROR"))
        _one_of("log_style", self.log_style, ("text", "json"))

    @classmethod
    def load(cls, home: Path | None = None, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings of the home given, else of MANYARM_HOME, else of ./var in a checkout, else of /var/lib/manyarm.

        Raises:
            SettingsInvalid: With every fault found.
        """
        chosen = home or _home(environ, "MANYARM_HOME", Path("/var/lib/manyarm"))
        return read_settings(cls, chosen / "hub.toml", environ, "MANYARM_", home=chosen)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'manyarm.db'}"

    @property
    def master_key_source(self) -> str:
        """Beside the home, never inside it: a backup of the home does not carry the key."""
        return self.master_key or f"file:{self.home.parent / (self.home.name + '.master-key')}"

    def local_home_for(self, hub_id: str) -> Path:
        """Where the local spoke of a hub lives that root has started."""
        return Path(self.local_home) if self.local_home else LOCAL_HOMES / hub_id

    @property
    def gateway_here(self) -> str:
        """The gateway as this machine reaches it."""
        return _reachable(self.gateway_bind)

    @property
    def portal_url(self) -> str:
        """Where people find the portal."""
        if self.portal_origin:
            return self.portal_origin
        host, port = parse_address(self.portal_bind)
        return f"{'http' if self.portal_tls == 'off' else 'https'}://{host}:{port}"

    @property
    def gateway_public(self) -> str:
        """The `host:port` that join codes carry."""
        return self.public_name or _reachable(self.gateway_bind)

    def refuse_open_portal(self) -> None:
        """Outside loopback a portal needs TLS, or a declared proxy that has it.

        Raises:
            SettingsInvalid: It has neither.
        """
        host, _ = parse_address(self.portal_bind)
        if host in LOOPBACK or self.portal_tls != "off":
            return
        if self.trusted_proxies and self.portal_origin.startswith("https://"):
            return
        raise SettingsInvalid(
            (
                f"portal_bind is {self.portal_bind}, which others can reach, and the portal has no TLS: set "
                "MANYARM_PORTAL_TLS to self-signed or CERT:KEY, or MANYARM_PORTAL_ORIGIN=https://… together with "
                "MANYARM_TRUSTED_PROXIES",
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokeSettings:
    """Settings of a spoke. Config/spoke.toml explains each key."""

    home: Path
    runner_python: str = ""
    standby: bool = True
    https_proxy: str = ""
    listen: str = ""
    dial_proxy: str = ""
    log_level: str = "INFO"
    log_style: str = "text"
    limits: SpokeLimits = field(default_factory=SpokeLimits)

    def __post_init__(self) -> None:
        if self.listen:
            _named("listen", self.listen)
        if self.dial_proxy:
            _named("dial_proxy", self.dial_proxy.removeprefix("http://"))
        _one_of("log_level", self.log_level, ("DEBUG", "INFO", "WARNING", "ERROR"))
        _one_of("log_style", self.log_style, ("text", "json"))

    @classmethod
    def load(cls, home: Path | None = None, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings of the home given, else of MANYARM_SPOKE_HOME, else of /var/lib/manyarm-spoke.

        Raises:
            SettingsInvalid: With every fault found.
        """
        chosen = home or Path(environ.get("MANYARM_SPOKE_HOME") or "/var/lib/manyarm-spoke")
        return read_settings(cls, chosen / "spoke.toml", environ, "MANYARM_SPOKE_", home=chosen)


def _home(environ: Mapping[str, str], name: str, installed: Path) -> Path:
    if environ.get(name):
        return Path(environ[name]).absolute()
    return Path("var").absolute() if Path("manyarm").is_file() or Path("hub/composition.py").is_file() else installed


def _named(name: str, value: str) -> None:
    try:
        parse_address(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def _reachable(bind: str) -> str:
    host, port = parse_address(bind)
    return f"{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104  Compared, not bound.
