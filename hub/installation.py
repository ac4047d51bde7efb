"""How a hub comes to be: master key, keyring, its own keys, trust document 1, and a code for the first administrator.

All rows come in one transaction: there is a whole hub, or none.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hub.access.setup_codes import new_setup_code
from hub.errors import Conflict
from hub.events.record import SYSTEM, record
from hub.storage.database import connection, flush_wal, migrate_up, open_database, write_tx
from hub.storage.hub_keys import HUB_BOX, TLS_BROKER, TLS_GATEWAY, new_hub_key, spki_sha256
from hub.storage.hub_trust import load_seals, seal_root
from hub.storage.key_check import compare, stored_check
from hub.storage.models import DataKey, Installation, TrustFrame, now_ms
from hub.storage.seals import RowSeals
from hub.storage.vault import ProcessClass, Vault, new_data_keys
from hub.storage.vault_master import MasterKey, PassphraseCost
from wire.documents import BoxDocument
from wire.keys import BoxKey, SigningKey, new_id, thumbprint
from wire.roles import Role
from wire.trust import DocumentKey, RunnerFloor, TlsPin, TrustDocument, sign_trust

DAY_S = 86_400
ROLE_KEY_DAYS = 400
ROOT_KEY_DAYS = 20 * 365
BOX_CERTIFICATE_DAYS = 60
TLS_KEY_DAYS = 3650
# Keys are valid a little before they are made: the clock of a spoke may be behind.
CLOCK_MARGIN_S = 300

TRUSTED_ROLES = (
    Role.HUB_ROOT, Role.HUB_COMMAND, Role.HUB_PORTAL, Role.HUB_RELEASE, Role.HUB_AUDIT, Role.HUB_ROWS,
)  # fmt: skip
TLS_ROLES = {TLS_GATEWAY: "gateway", TLS_BROKER: "broker"}


class InstallSettings(Protocol):
    """What an installation needs of the settings."""

    @property
    def home(self) -> Path: ...
    @property
    def database(self) -> str: ...
    @property
    def master_key_source(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Installed:
    """To be shown once, on the console."""

    hub_id: str
    root_thumbprint: str
    recovery_string: str = field(repr=False)
    setup_code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _NewKeys:
    signing: dict[str, SigningKey]
    box: BoxKey


def install(settings: InstallSettings, *, cost: PassphraseCost | None = None, at_ms: int | None = None) -> Installed:
    """Make a hub in a home that has none.

    Raises:
        Conflict: there is one already; nothing was changed.
        MasterKeyError: the source of the master key cannot be used.
    """
    if stored_check(settings.database) is not None:
        raise Conflict(f"a hub is installed in {settings.home} already", code="INSTALLED")
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    master, recovery = _master_key(settings, cost)
    at = at_ms if at_ms is not None else now_ms()
    database = open_database(settings.database)
    with connection():
        migrate_up(database)
        with write_tx():
            installed = _write_rows(master, recovery, at)
        # Whoever checks the master key later reads the file alone, without its WAL.
        flush_wal(database)
    return installed


def renew_setup_code(settings: InstallSettings, *, at_ms: int | None = None) -> str:
    """Another code where the first was lost or ran out, for whoever has the master key at hand."""
    stored = stored_check(settings.database)
    master = MasterKey.read(settings.master_key_source, settings.home)
    if stored is not None:
        compare(master.check, stored)
    open_database(settings.database)
    with write_tx():
        vault = Vault.open(master.kek(ProcessClass.ENGINE), DataKey.select())
        code = new_setup_code(load_seals(vault), at_ms if at_ms is not None else now_ms())
        record("setup-code.create", "hub", actor="console")
    return code


def _master_key(settings: InstallSettings, cost: PassphraseCost | None) -> tuple[MasterKey, str]:
    source = settings.master_key_source
    kind, _, rest = source.partition(":")
    # A first run that died after it had made the key file goes on with that key.
    if kind == "file" and Path(rest).exists():
        master = MasterKey.read(source, settings.home)
        return master, master.recovery_string()
    return MasterKey.create(source, settings.home, cost)


def _write_rows(master: MasterKey, recovery: str, at: int) -> Installed:
    DataKey.insert_many(new_data_keys({cls: master.kek(cls) for cls in ProcessClass})).execute()
    vault = Vault.open(master.kek(ProcessClass.ENGINE), DataKey.select())
    keys = _NewKeys({role: SigningKey.generate() for role in (*TRUSTED_ROLES, *TLS_ROLES)}, BoxKey.generate())
    seals = RowSeals(signing=keys.signing[Role.HUB_ROWS])
    hub_id, root = new_id(), keys.signing[Role.HUB_ROOT]
    _write_hub_keys(vault, seals, keys, hub_id, at)
    _write_trust(seals, keys, hub_id, at)
    Installation.create(
        id=1,
        hub_id=hub_id,
        root_thumbprint=_root_digest(root).hex(),
        root_sealed=seal_root(vault, _root_digest(root).hex()),
        created_at=at,
        mk_check=master.check,
    )
    code = new_setup_code(seals, at)
    shown = thumbprint(root.verify_key.pk)
    record("hub.install", f"hub:{hub_id}", actor=SYSTEM, detail={"root_thumbprint": shown, "mk_check": master.check})
    return Installed(hub_id, shown, recovery, code)


def _write_hub_keys(vault: Vault, seals: RowSeals, keys: _NewKeys, hub_id: str, at: int) -> None:
    every: dict[str, SigningKey | BoxKey] = {**keys.signing, HUB_BOX: keys.box}
    rows = [
        new_hub_key(vault, role, key, not_before=at - CLOCK_MARGIN_S * 1000, not_after=at + _days(role) * DAY_S * 1000)
        for role, key in every.items()
    ]
    now_s = at // 1000
    certificate = BoxDocument.of(hub_id, keys.box.public, issued=now_s, expires=now_s + BOX_CERTIFICATE_DAYS * DAY_S)
    for row in rows:
        if row.role == HUB_BOX:
            row.document = certificate.sign(keys.signing[Role.HUB_COMMAND])
        row.created_at = at
        seals.seal(row)
        row.save(force_insert=True)


def _write_trust(seals: RowSeals, keys: _NewKeys, hub_id: str, at: int) -> None:
    now_s = at // 1000
    document = TrustDocument(
        hub=hub_id,
        version=1,
        prev_sha256="",
        issued=now_s,
        expires=now_s + ROLE_KEY_DAYS * DAY_S,
        threshold=1,
        epoch=1,
        min_envelope=1,
        keys=tuple(
            DocumentKey.of(
                keys.signing[role].verify_key, role, nbf=now_s - CLOCK_MARGIN_S, naf=now_s + _days(role) * DAY_S
            )
            for role in TRUSTED_ROLES
        ),
        revoked=(),
        tls_pins=tuple(TlsPin(name, spki_sha256(keys.signing[role].verify_key.pk)) for role, name in TLS_ROLES.items()),
        runner=RunnerFloor(min_release=0),
    )
    frame = sign_trust(document, [keys.signing[Role.HUB_ROOT]])
    row = TrustFrame(version=1, sha256=document.sha256, frame=frame, issued_at=at)
    seals.seal(row)
    row.save(force_insert=True)


def _days(role: str) -> int:
    if role == Role.HUB_ROOT:
        return ROOT_KEY_DAYS
    if role == HUB_BOX:
        return BOX_CERTIFICATE_DAYS
    return TLS_KEY_DAYS if role in TLS_ROLES else ROLE_KEY_DAYS


def _root_digest(root: SigningKey) -> bytes:
    return hashlib.sha256(root.verify_key.pk).digest()
