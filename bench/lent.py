"""What a bench borrows of a running hub: its broker for the floors, its vault for naming packages to a spoke."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from bench.bare import BareHub, bare_exchange
from bench.stage import Stage
from config.settings import HubSettings
from hub.broker import endpoint
from hub.broker.admin import BrokerAdmin
from hub.broker.credentials import admin_password
from hub.storage.database import connection
from hub.storage.key_check import unlock
from hub.storage.opening import open_vault
from hub.storage.vault import ProcessClass, Vault
from wire.topology import ADMIN_USER, Permissions

_USER = "bench"


def opened_vault(stage: Stage) -> Vault:
    """The engine's vault, opened here beside the engine's own; the models are bound to its database."""
    settings = settings_of(stage)
    return open_vault(
        settings, unlock(settings.master_key_source, settings.home, settings.database).kek(ProcessClass.ENGINE)
    )


def settings_of(stage: Stage) -> HubSettings:
    return HubSettings.load(stage.whole.home, stage.environ())


@contextmanager
def bare_on_the_same_broker(stage: Stage) -> Iterator[BareHub]:
    """The bare exchange over the very node that the hub uses."""
    vault = opened_vault(stage)
    node = json.loads((stage.whole.home / "broker" / "node.json").read_text())
    with connection():
        admin = BrokerAdmin(f"http://127.0.0.1:{node['ports']['management']}", ADMIN_USER, admin_password(vault))
    password = secrets.token_hex(16)
    admin.ensure_user(_USER, password, Permissions(".*", ".*", ".*"))
    with bare_exchange(endpoint.endpoint(settings_of(stage)).url(_USER, password)) as bare:
        yield bare
