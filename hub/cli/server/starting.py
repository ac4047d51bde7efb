"""What every server command does first: settings, logging, and faults told in sentences with the right status."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from config.errors import SettingsInvalid
from config.logging import set_up
from config.settings import HubSettings
from hub.cli.ending import CommandFailed, Status
from hub.errors import HubError
from hub.hardening import harden

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

    return run
