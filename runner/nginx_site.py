"""Where a site's file lies in nginx's configuration, what stands in it, and one change of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.nginx import Configuration, Nginx
from runner.package_files import read_text
from runner.replaced_files import PRIVATE, ReplacedFiles, WantedFile

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_FOLDER = "/etc/nginx"


@dataclass
class SiteChange:
    """What the conventions of an nginx-site step share.

    Args:
        now: What nginx reads with the site as it should be.
        is_told: The running nginx was told to reload.
    """

    nginx: Nginx
    files: ReplacedFiles
    wanted: Tuple[WantedFile, ...]
    now: Configuration | None = None
    is_told: bool = False


def change_of(deployment: RunningDeployment) -> SiteChange:
    found = deployment.recall(SiteChange)
    if found is None:
        raise StepFailed("nginx was not looked at yet")
    return found


def wanted_files(deployment: RunningDeployment) -> Tuple[WantedFile, ...]:
    """The site's file and, where sites are enabled by one, its link; the one that nginx reads stands last."""
    name = deployment.text("site")
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise StepFailed(f"property site: expected a name of letters, digits, dots, dashes, found {name!r}")
    text = _text(deployment)
    content = None if text is None else text.encode("utf-8", "surrogateescape")
    mode = PRIVATE if text is not None and deployment.variables.holds_secret(text) else 0o644
    folder, enabled = _folders(deployment)
    if enabled is None:
        return (WantedFile(folder / (name if name.endswith(".conf") else f"{name}.conf"), content, mode),)
    file = WantedFile(folder / name, content, mode)
    target = None if content is None else f"../{folder.name}/{name}".encode()
    link = WantedFile(enabled / name, target, is_link=True)
    # What is taken away: first the link, so that it never points to nothing.
    return (file, link) if content is not None else (link, file)


def site_file(wanted: Tuple[WantedFile, ...]) -> Path:
    """The path by which nginx reads the site."""
    links = [file.path for file in wanted if file.is_link]
    return links[0] if links else wanted[0].path


def _folders(deployment: RunningDeployment) -> Tuple[Path, Path | None]:
    """Where sites lie, and where the links lie that enable them, if they are enabled by links."""
    given = deployment.text("directory")
    if given:
        if not given.startswith("/") or ".." in given.split("/"):
            raise StepFailed(f"property directory: expected an absolute path without '..', found {given!r}")
        return Path(given), None
    config = deployment.text("nginx_config")
    base = Path(config).parent if config else Path(_FOLDER)
    available, enabled, plain = base / "sites-available", base / "sites-enabled", base / "conf.d"
    if available.is_dir() and enabled.is_dir():
        return available, enabled
    if plain.is_dir():
        return plain, None
    raise StepFailed(
        f"{base} has neither sites-available and sites-enabled nor conf.d; name the folder of sites by `directory`"
    )


def _text(deployment: RunningDeployment) -> str | None:
    """What the site's file should hold; None where there should be none."""
    given = [name for name in ("config", "config_file") if deployment.text(name)]
    if deployment.properties["remove"]:
        if given:
            raise StepFailed(f"properties {given[0]} and remove: expected one of them")
        return None
    if len(given) != 1:
        raise StepFailed("properties config and config_file: expected one of them, for it says what the site is")
    if given == ["config"]:
        typed = deployment.text("config")
        return typed if typed.endswith("\n") else f"{typed}\n"
    source = Path(deployment.text("config_file"))
    if not source.is_absolute() or not source.is_file():
        raise StepFailed(f"property config_file: expected the absolute path of a file, found {str(source)!r}")
    text, _, _ = read_text(source)
    return deployment.variables.expand(text, source.name)
