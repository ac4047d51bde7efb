"""The values that a job works with: variables, secrets and its own outputs, expanded when they are asked for."""

from __future__ import annotations

import re
from typing import Callable, Dict, Mapping, Set

from runner.contract.errors import TemplateError
from runner.contract.job import LIMIT_VALUE_CHARS, Job
from runner.contract.template import expand
from runner.job_folder import JobFile

# What a target said in an earlier step: data for ever, never expanded (security.md R21).
OUTPUT_NAME = re.compile(r"Manyarm\.Step\[.*\]\.Output\b", re.DOTALL)


class _Watched(Dict[str, str]):
    """Values by name, which notices whether one of them was looked up: whose name is `watched`, folded."""

    watched = "manyarm.release.number"
    was_looked_up = False

    def __getitem__(self, name: str) -> str:
        if name.casefold() == self.watched:
            self.was_looked_up = True
        return super().__getitem__(name)


class JobVariables:
    """Values by name. Secrets and what targets said are taken as they are; all others may refer to further ones.

    `asked_for_release` says whether anybody has asked for the release's number, directly or by way of another variable:
    else two releases with the same values do the same.
    """

    def __init__(self, job: Job, secrets: Mapping[str, str]) -> None:
        self._step = job.step.name
        self._target = job.target.name
        self._values = _Watched({**job.variables, **job.literals, **secrets})
        self._secrets = tuple(value for value in secrets.values() if value)
        self._folded: Dict[str, str] = {name.casefold(): name for name in self._values}
        self._verbatim: Set[str] = {*secrets, *job.literals} | {
            name for name in self._values if OUTPUT_NAME.match(name)
        }

    @property
    def asked_for_release(self) -> bool:
        return self._values.was_looked_up

    def note_release_was_asked_for(self) -> None:
        """By somebody who asked elsewhere: a script asks the supervisor."""
        self._values.was_looked_up = True

    def set(self, name: str, value: str) -> None:
        """A value that the runner itself knows, such as the install directory."""
        self._values[name] = value
        self._folded[name.casefold()] = name
        self._verbatim.add(name)

    def set_output(self, name: str, value: str) -> None:
        """An output of this step, under the names that later scripts of the same job may use."""
        self.set(f"Manyarm.Step[{self._step}].Output.{name}", value)
        self.set(f"Manyarm.Step[{self._step}].Output[{self._target}].{name}", value)

    def value(self, name: str) -> str | None:
        """One value, expanded; None where there is no such variable.

        Raises:
            TemplateError: it refers to what does not exist.
        """
        declared = name if name in self._values else self._folded.get(name.casefold())
        if declared is None:
            return None
        value = self._values[declared]
        if declared in self._verbatim:
            return value
        return expand(
            value, self._values, source=f"variable {declared}", verbatim=self._verbatim, limit=LIMIT_VALUE_CHARS
        )

    def expand(self, text: str, source: str, *, strict: bool = True, warn: Callable[[str], None] | None = None) -> str:
        return expand(text, self._values, strict, source=source, verbatim=self._verbatim, warn=warn)

    def as_given(self) -> Dict[str, str]:
        """Every value under its name, unexpanded, secrets too."""
        return dict(self._values)

    def holds_secret(self, text: str) -> bool:
        """Whether a text has a secret in it, so that not everybody may read what it is written to."""
        return any(secret in text for secret in self._secrets)

    def for_files(self) -> Dict[str, str]:
        """Values that may replace those of configuration files: all but the platform's own, those that expand."""
        found: Dict[str, str] = {}
        for name in self._values:
            if not name.casefold().startswith("manyarm."):
                try:
                    found[name] = self.value(name) or ""
                except TemplateError:
                    # A variable that another step needs must not fail this one; a file that asks for it will say so.
                    continue
        return found


def variables_of(job_file: JobFile, secrets: Mapping[str, str]) -> JobVariables:
    """What the supervisor and its worker both begin with."""
    variables = JobVariables(job_file.job, secrets)
    # Only this machine knows where its spoke lives; paths of a process may begin there.
    variables.set("Manyarm.Home", job_file.home)
    return variables
