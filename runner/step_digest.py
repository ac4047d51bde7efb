"""A digest of everything that a step was told: the same for the same properties and values, telling none of them.

It is keyed by a file of the spoke's home, made once: without it nobody can try out what a secret may have been.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from contextlib import suppress
from pathlib import Path

from runner.deployment import RunningDeployment

_KEY = "journal.key"
_KEY_BYTES = 32
# These tell runs and releases apart; whether the release's number was asked for the journal says for itself.
_NAMES_OF_RUNS = frozenset({"manyarm.deployment.id", "manyarm.task.id", "manyarm.release.number"})
_PROPERTIES_ABOUT_THE_JOURNAL = frozenset({"skip_if_installed", "keep"})


def step_digest(deployment: RunningDeployment) -> str:
    """To be asked before the step adds values of its own."""
    properties = {k: v for k, v in deployment.properties.items() if k not in _PROPERTIES_ABOUT_THE_JOURNAL}
    values = {k: v for k, v in deployment.variables.as_given().items() if k.casefold() not in _NAMES_OF_RUNS}
    told = json.dumps([properties, values], sort_keys=True).encode("ascii")
    return hmac.new(_key(deployment.home), told, hashlib.sha256).hexdigest()


def _key(home: Path) -> bytes:
    """The home's key; made whole where it is missing, by one of those who miss it."""
    path = home / _KEY
    with suppress(FileNotFoundError):
        return path.read_bytes()
    part = home / f".{_KEY}.{os.getpid()}.part"
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(os.urandom(_KEY_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()
    return path.read_bytes()
