"""`manyarm up`: everything on this machine, supervised: private broker, engine, gateway, portal."""

import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import click

from config.settings import HubSettings, parse_address
from hub import child
from hub.broker.node import PrivateNode
from hub.cli.ending import CommandFailed
from hub.cli.server.parts import listening
from hub.cli.server.starting import begin, refuse_brokerless, telling
from hub.daemon import Daemon, HouseSpoke, Part, PartFailed, end_leftovers, running_state
from hub.errors import HubError, NotFound
from hub.storage.key_check import stored_check, unlock
from hub.storage.opening import open_vault
from hub.storage.vault import ProcessClass
from hub.storage.vault_master import MasterKey
from wire.crash import VARIABLE

logger = logging.getLogger(__name__)

_CLASSES = {"hub": ProcessClass.ENGINE, "gateway": ProcessClass.GATEWAY, "portal": ProcessClass.PORTAL}
_OPTIONS: dict[str, tuple[str, ...]] = {"hub": ("--house",)}
# What a spoke beside the hub sees of our environment: where programs lie, how time and words are written, and where a
# test wants it to end.
_PASSED_ON = ("PATH", "TZ", "LANG", VARIABLE)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@click.command()
@click.pass_context
@telling
def up(ctx: click.Context) -> None:
    """Run everything on this machine until Ctrl-C."""
    settings = begin(ctx.obj["home"], "up")
    settings.refuse_open_portal()
    running = running_state(settings.home)
    if running is not None:
        click.echo(f"Manyarm runs here already: {running.get('portal')}")
        return
    refuse_brokerless(settings, own_node=True)
    master = _master_key(settings)
    _refuse_damaged_keyring(settings, master)
    # What a killed `up` has left may still hold a port for a moment.
    end_leftovers(settings.home)
    for bind, setting in _addresses(settings):
        _probe(bind, setting)
    daemon = _daemon(settings, master)
    daemon.stop_on_signals()
    try:
        daemon.run(lambda: _say_ready(settings))
    except PartFailed as error:
        raise CommandFailed(str(error), error.status) from error


def _master_key(settings: HubSettings) -> MasterKey:
    try:
        return unlock(settings.master_key_source, settings.home, settings.database)
    except NotFound as error:
        raise CommandFailed(f"{settings.home} holds no hub yet; first: manyarm init", 2) from error


def _refuse_damaged_keyring(settings: HubSettings, master: MasterKey) -> None:
    """Whichever part's keys do not open: it is told before anything is started.

    Raises:
        KeyringDamaged: The master key fits, one of the keys under it does not.
    """
    for process_class in ProcessClass:
        open_vault(settings, master.kek(process_class))


def _daemon(settings: HubSettings, master: MasterKey) -> Daemon:
    node, keys = _private_node(settings, master), _Keys(settings, master)
    parts = [
        Part(
            name,
            (*child.PYTHON, "hub.cli", "--home", str(settings.home), name, *_OPTIONS.get(name, ())),
            partial(keys.of, cls),
        )
        for name, cls in _CLASSES.items()
    ]

    def environ() -> Mapping[str, str]:
        return {**os.environ, **({"MANYARM_BROKER_ADMIN_URL": node.admin_url} if node is not None else {})}

    addresses = {"portal": settings.portal_url, "gateway": settings.gateway_public}
    return Daemon(settings.home, node, parts, environ, addresses, list(_house(settings)))


class _Keys:
    """Keys for parts: of the master key that was read at the start, or of the one that has taken its place since."""

    def __init__(self, settings: HubSettings, master: MasterKey) -> None:
        self._settings = settings
        self._master = master

    def of(self, process_class: ProcessClass) -> bytes:
        try:
            stored = stored_check(self._settings.database)
            if stored is not None and stored.check != self._master.check:
                self._master = _master_key(self._settings)
        except HubError as error:
            # With the key that there was the part says itself what it lacks.
            logger.warning("master key not read anew", extra={"reason": error.detail})
        return self._master.kek(process_class).key


def _house(settings: HubSettings) -> Iterator[HouseSpoke]:
    """The spokes beside the hub; whatever this process was told by its environment is not for them."""
    from hub.infrastructure.house_spokes import house_homes
    from hub.storage.database import connection
    from hub.storage.hub_trust import installation

    with connection():
        hub_id = installation().hub_id
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    for home in house_homes(settings, hub_id):
        name = str(home.kind)
        argv = (*child.PYTHON, "spokes", "--home", str(home.root), name, "--join-file", str(home.join_file))
        environ = {"PATH": _PATH, "LANG": "C.UTF-8", **passed_on, "HOME": str(home.root)}
        yield HouseSpoke(name, argv, environ, log=_log_of(settings, home.root))


def _log_of(settings: HubSettings, root: Path) -> Path | None:
    """A spoke with a home outside of ours writes its log there: it may not write here."""
    return None if root.is_relative_to(settings.home) else root / "run" / "spoke.log"


def _private_node(settings: HubSettings, master: MasterKey) -> PrivateNode | None:
    if settings.broker_url:
        return None
    from hub.broker.credentials import node_credentials
    from hub.certificates import node_tls

    vault = open_vault(settings, master.kek(ProcessClass.ENGINE))
    bind, tls = parse_address(settings.broker_bind), node_tls(settings, vault)
    return PrivateNode(settings.home, bind, credentials=node_credentials(vault), tls=tls)


def _addresses(settings: HubSettings) -> tuple[tuple[str, str], ...]:
    return ((settings.portal_bind, "MANYARM_PORTAL_BIND"), (settings.gateway_bind, "MANYARM_GATEWAY_BIND"))


def _probe(bind: str, setting: str) -> None:
    """A port that is taken is told before anything is started."""
    from hub.serving import listen

    listening(bind, setting, listen).close()


def _say_ready(settings: HubSettings) -> None:
    click.echo(f"Portal   {settings.portal_url}")
    click.echo(f"Gateway  {settings.gateway_public}")
    click.echo("Ready. Ctrl-C stops everything; what runs on targets goes on.")
