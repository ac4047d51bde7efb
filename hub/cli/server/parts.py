"""`manyarm hub`, `portal`, `gateway`: one part alone, started by hand, by systemd, or by `manyarm up`."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

import click

from config.settings import HubSettings, parse_address
from hub import child
from hub.cli.ending import CommandFailed, Status
from hub.cli.server.starting import begin, refuse_brokerless, refuse_uninstalled, telling
from hub.errors import HubError, MasterKeyWrong
from hub.storage.key_check import compare, unlock
from hub.storage.vault import Kek, ProcessClass
from hub.storage.vault_master import read_kek


def key_for(settings: HubSettings, process_class: ProcessClass) -> Kek:
    """The key of this class of process: handed over by the parent, from a key file, or from the master key.

    Raises:
        HubError: as `unlock` does. CommandFailed: the parent is gone.
    """
    try:
        inherited = child.inherited_key()
    except EOFError as error:
        raise CommandFailed("whoever started this part is gone", Status.USAGE) from error
    if inherited is not None:
        return Kek(process_class, inherited)
    if settings.kek_file and process_class is not ProcessClass.ENGINE:
        return _issued_key(settings, process_class)
    return unlock(settings.master_key_source, settings.home, settings.database).kek(process_class)


def _issued_key(settings: HubSettings, process_class: ProcessClass) -> Kek:
    kek = read_kek(settings.kek_file, settings.home)
    if kek.cls is not process_class:
        raise MasterKeyWrong(
            f"{settings.kek_file}: this is the key of a {kek.cls}; a {process_class} needs its own: "
            f"manyarm key issue {process_class} FILE"
        )
    compare(kek.mk_check, refuse_uninstalled(settings))
    return kek


@click.command()
@click.option("--house", is_flag=True, help="Leave join codes for the spokes that `manyarm up` keeps beside the hub.")
@click.pass_context
@telling
def hub(ctx: click.Context, house: bool) -> None:
    """Run the engine alone."""
    from hub import composition
    from hub.storage.database import engine_lock, migrate_up, open_database, starting_alone

    settings = begin(ctx.obj["home"], "engine")
    stop = Event()
    with _telling_parent():
        refuse_brokerless(settings, own_node=False)
        kek = key_for(settings, ProcessClass.ENGINE)
        database = open_database(settings.database)
        with engine_lock(settings.home, settings.database):
            with starting_alone(database):
                migrate_up(database)
                running = composition.engine(settings, kek, house=house)
            running.start()
            _leave_on_signal(stop)
            child.leave_with_parent(stop.set)
            child.say_ready()
            stop.wait()
            running.stop()


@click.command()
@click.pass_context
def portal(ctx: click.Context) -> None:
    """Run pages and API alone."""
    # The hub's commands know nothing of pages: the portal is a program of its own.
    home = ["--home", str(ctx.obj["home"])] if ctx.obj["home"] else []
    os.execv(sys.executable, [*child.PYTHON, "portal", *home])  # noqa: S606  Our own interpreter, no shell.


@click.command()
@click.pass_context
@telling
def gateway(ctx: click.Context) -> None:
    """Run the door for spokes alone."""
    from hub import composition
    from hub.serving import listen, serve
    from hub.wheel import pack_wheel

    settings = begin(ctx.obj["home"], "gateway")
    with _telling_parent():
        kek = key_for(settings, ProcessClass.GATEWAY)
        pack_wheel(composition.wheels(settings))
        listener = listening(settings.gateway_bind, "MANYARM_GATEWAY_BIND", listen)
        child.leave_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
        serve(
            lambda: composition.gateway_app(settings, kek),
            listener=listener,
            threads=64,
            tls=composition.gateway_tls(settings, kek),
            on_ready=child.say_ready,
        )


def listening(bind: str, setting: str, listen: Callable[[str, int], socket.socket]) -> socket.socket:
    """The bound socket of a part.

    Raises:
        CommandFailed: The port is taken or may not be used; names the setting that changes it.
    """
    try:
        return listen(*parse_address(bind))
    except OSError as error:
        raise CommandFailed(
            f"cannot listen on {bind} ({error.strerror}); end what does, or set {setting}", 1
        ) from error


@contextmanager
def _telling_parent() -> Iterator[None]:
    """A part that cannot work at all says why to whoever started it, so that it is not started again and again."""
    try:
        yield
    except HubError as error:
        child.say_failed(error.detail, error.exit_status)
        raise
    except CommandFailed as error:
        child.say_failed(error.message, error.exit_code)
        raise


def _leave_on_signal(stop: Event) -> None:
    def leave(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
