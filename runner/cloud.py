"""What a cloud offers to the steps that act on it: which environment and files its own tools expect of an account."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Tuple

from runner.errors import StepFailed


@dataclass(frozen=True)
class CloudAccount:
    """The account of one job, with its secrets, and the region that its target lies in."""

    name: str
    kind: str
    fields: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    region: str = ""

    def value(self, name: str) -> str:
        """A field or secret; empty where the account has none."""
        return self.secrets.get(name, "") or self.fields.get(name, "")

    def needed(self, name: str) -> str:
        """A field or secret.

        Raises:
            StepFailed: the account has none.
        """
        found = self.value(name)
        if not found:
            raise StepFailed(f"the account {self.name!r} has no {name}: give it one, and run the step again")
        return found

    def needed_json(self, name: str) -> Dict[str, Any]:
        """A secret that is a JSON object; the same errors."""
        try:
            found = json.loads(self.needed(name))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StepFailed(
                f"the {name} of the account {self.name!r} is no JSON object: paste the key file as it came"
            )
        return found


@dataclass(frozen=True)
class Access:
    """What one run gets.

    Args:
        environment: By name; what is empty is left out.
        files: Content by file name; private, in a folder of the run's own.
        paths: Variables that hold the path of one of those files, or of a fresh folder.
        sign_in: Commands for the cloud's own tool, before the script; `{folder}` is where the files lie.
    """

    environment: Mapping[str, str] = field(repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    paths: Mapping[str, str] = field(default_factory=dict)
    sign_in: Tuple[Tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Cloud:
    """One kind of account.

    Args:
        name: As the account's kind spells it.
        tool: The cloud's own program; empty where it has none.
        install: How a person gets the tool.
        access: What a run gets; raises StepFailed where the account lacks something.
    """

    name: str
    tool: str
    install: str
    access: Callable[[CloudAccount], Access]
