"""Which hub a command talks to, and with which key: option, environment, then what `manyarm login` has saved."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from hub.cli.ending import CommandFailed, Status


@dataclass(frozen=True, slots=True)
class Access:
    """The address of a hub and an API key for it."""

    url: str
    api_key: str = field(repr=False)


def access(url: str | None = None) -> Access:
    """The hub to talk to.

    Raises:
        CommandFailed: No address or no key is known.
    """
    saved = _saved()
    chosen = url or os.environ.get("MANYARM_URL") or saved.get("url", "")
    if not chosen:
        raise CommandFailed("which hub? Set MANYARM_URL, or run: manyarm login URL", Status.USAGE)
    if not chosen.startswith(("http://", "https://")):
        raise CommandFailed(f"{chosen!r}: expected an address such as https://manyarm.example.com", Status.USAGE)
    key = os.environ.get("MANYARM_API_KEY") or (saved.get("api_key", "") if saved.get("url") == chosen else "")
    if not key:
        raise CommandFailed(
            f"no API key for {chosen}: set MANYARM_API_KEY, or run: manyarm login {chosen}", Status.USAGE
        )
    return Access(chosen.rstrip("/"), key)


def save(chosen: Access) -> Path:
    """Keep it for later commands, readable by this user alone."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump({"url": chosen.url, "api_key": chosen.api_key}, out)
    new.replace(file)
    return file


def _file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "manyarm" / "login.json"


def _saved() -> dict[str, str]:
    try:
        saved = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{_file()} cannot be read ({error}); delete it and log in again", Status.USAGE) from error
    return {str(name): str(value) for name, value in saved.items()} if isinstance(saved, dict) else {}
