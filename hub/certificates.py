"""Certificates as files and contexts: what the private broker node shows, and how the portal speaks TLS."""

import os
from collections.abc import Callable
from pathlib import Path

from config.settings import HubSettings
from hub.broker import endpoint
from hub.broker.node import NodeTls
from hub.storage.database import connection
from hub.storage.hub_keys import TLS_BROKER, signing_key
from hub.storage.vault import Vault
from wire.tls import TlsContext, make_certificate, server_context


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
        return lambda: server_context(*_own_certificate(settings.home / "portal-tls"))
    certificate, _, key = settings.portal_tls.partition(":")
    return lambda: server_context(Path(certificate).read_bytes(), Path(key).read_bytes())


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
