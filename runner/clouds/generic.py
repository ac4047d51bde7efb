"""Any other service: every field and secret of the account is an environment variable of its name."""

from __future__ import annotations

import re

from runner.cloud import Access, Cloud, CloudAccount
from runner.errors import StepFailed

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z", re.ASCII)
# Whoever sets these decides which programs run, and how.
_OURS = re.compile(r"(MANYARM_.*|LD_.*|PATH|HOME|BASH_ENV|ENV|IFS|PYTHON.*)\Z", re.ASCII)


def _access(account: CloudAccount) -> Access:
    environment = {**account.fields, **account.secrets}
    for name, value in environment.items():
        if not _NAME.match(name) or _OURS.match(name) or "\0" in value:
            raise StepFailed(f"the account {account.name!r}: {name!r} cannot be a variable of a script's environment")
    if account.region:
        environment.setdefault("REGION", account.region)
    return Access(environment=environment)


CLOUD = Cloud(name="generic", tool="", install="", access=_access)
