"""Certificates as files and contexts: what the private broker node shows, how portal and gateway speak TLS."""

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock

from config.settings import HubSettings
from hub.broker import endpoint
from hub.broker.node import NodeTls
from hub.storage.database import connection
from hub.storage.hub_keys import TLS_BROKER, TLS_GATEWAY, signing_key
from hub.storage.hub_trust import trust_chain
from hub.storage.vault import Vault
from wire.tls import TlsContext, make_certificate, server_context

_LOOK_S = 1.0


def node_tls(settings: HubSettings, vault: Vault) -> NodeTls | None:
    """What the private node shows where others than this machine can reach it; needs the engine's vault."""
    if endpoint.endpoint(settings).scheme != "amqps":
        return None
    with connection():
        seed = signing_key(vault, TLS_BROKER).seed
    certificate, key = _written(settings.home / "broker" / "tls", make_certificate(seed, "manyarm broker"))
    return NodeTls(certificate, key)


def portal_tls(settings: HubSettings) -> Callable[[], TlsContext] | None:
    """How the portal speaks TLS: not at all (loopback or behind a proxy), self-signed, or with files that are named."""
    if settings.portal_tls == "off":
        return None
    if settings.portal_tls == "self-signed":
        return cache(lambda: server_context(*_own_certificate(settings.home / "portal-tls")))
    certificate, _, key = settings.portal_tls.partition(":")
    return cache(lambda: server_context(Path(certificate).read_bytes(), Path(key).read_bytes()))


class GatewayTls:
    """The gateway's context, with the pins of the relays that the newest trust document names.

    Asked for with each connection: a context never forgets a pin that it was given, so a change makes another one.

    Args:
        vault: Opens the gateway's own key; called once, in the process that serves.
    """

    def __init__(self, vault: Callable[[], Vault], clock: Callable[[], float] = time.monotonic) -> None:
        self._vault = vault
        self._clock = clock
        self._lock = Lock()
        self._pair: tuple[bytes, bytes] | None = None
        self._pins: frozenset[str] = frozenset()
        self._context: TlsContext | None = None
        self._looked_at = 0.0

    def __call__(self) -> TlsContext:
        with self._lock:
            now = self._clock()
            if self._context is None or now - self._looked_at >= _LOOK_S:
                self._look()
                self._looked_at = now
            assert self._context is not None
            return self._context

    def _look(self) -> None:
        if self._pair is None:
            vault = self._vault()
            with connection():
                self._pair = make_certificate(signing_key(vault, TLS_GATEWAY).seed, "manyarm gateway")
        with connection():
            pins = frozenset(trust_chain().document.pins("relay"))
        if self._context is None or pins != self._pins:
            # Spokes and strangers show no certificate; one that is shown must be a relay's.
            self._context = server_context(*self._pair, pins, client_optional=True)
            self._pins = pins


def _own_certificate(folder: Path) -> tuple[bytes, bytes]:
    """Made once and kept, so that a browser that was told to trust it goes on doing so."""
    files = folder / "certificate.pem", folder / "key.pem"
    if not all(path.exists() for path in files):
        _written(folder, make_certificate(os.urandom(32), "manyarm portal"))
    return files[0].read_bytes(), files[1].read_bytes()


def _written(folder: Path, contents: tuple[bytes, bytes]) -> tuple[Path, Path]:
    """Certificate and key as private files of the folder."""
    files = folder / "certificate.pem", folder / "key.pem"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in zip(files, contents, strict=True):
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
    return files
