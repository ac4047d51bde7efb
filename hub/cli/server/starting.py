"""What every server command does first: settings, logging, and faults told in sentences with the right status."""

import errno
import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from config.errors import SettingsInvalid
from config.logging import set_up
from config.settings import HubSettings
from hub.cli.ending import CommandFailed, Status
from hub.errors import HubError, NotFound
from hub.hardening import harden
from hub.storage.key_check import StoredCheck, stored_check

P = ParamSpec("P")
R = TypeVar("R")


def settings_of(home: Path | None) -> HubSettings:
    """The settings of the home; every fault of them is told at once."""
    try:
        return HubSettings.load(home)
    except SettingsInvalid as error:
        raise CommandFailed(str(error), Status.USAGE) from error


def begin(home: Path | None, process: str) -> HubSettings:
    """Harden the process, read the settings, set up logging."""
    harden()
    settings = settings_of(home)
    set_up(settings.log_level, settings.log_style, process)
    return settings


def refuse_uninstalled(settings: HubSettings) -> StoredCheck:
    """Which master key the data needs; found out without making a database.

    Raises:
        NotFound: There is no hub.
    """
    stored = stored_check(settings.database)
    if stored is None:
        raise NotFound(f"no hub is installed in {settings.home}: run `manyarm init` first", code="NOT_INSTALLED")
    return stored


def refuse_brokerless(settings: HubSettings, *, own_node: bool) -> None:
    """Whoever starts no node of its own needs a broker's address and that of its HTTP API.

    Raises:
        CommandFailed: One is missing; says which.
    """
    if settings.broker_admin_url or (own_node and not settings.broker_url):
        return
    if settings.broker_url:
        raise CommandFailed(
            "MANYARM_BROKER_URL is set without MANYARM_BROKER_ADMIN_URL, where the hub makes a user for each spoke: "
            "set it to the broker's HTTP API, such as http://admin:password@host:15672",
            Status.USAGE,
        )
    raise CommandFailed(
        "an engine alone needs a broker: set MANYARM_BROKER_URL and MANYARM_BROKER_ADMIN_URL, or run `manyarm up`, "
        "which starts its own",
        Status.USAGE,
    )


def telling(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what the hub raises into one sentence and its exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except HubError as error:
            raise CommandFailed(error.detail, error.exit_status) from error
        except SettingsInvalid as error:
            raise CommandFailed(str(error), Status.USAGE) from error
        except BrokenPipeError:
            # Whoever reads our words has read enough.
            raise
        except OSError as error:
            raise CommandFailed(_of_the_system(error), Status.USAGE) from error

    return run


def _of_the_system(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if isinstance(error, FileExistsError):
        return f"{place}exists already; it is not written over"
    if error.errno == errno.ENOSPC:
        return f"{place}the disk is full; make room and try again"
    return f"{place}{error.strerror or error}"
