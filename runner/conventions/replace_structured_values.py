"""Replace values in the configuration files that the step names, by their path (`Database:Host`)."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

from runner.deployment import RunningDeployment
from runner.errors import FileMalformed, StepFailed
from runner.formats import format_of
from runner.memory import within_memory
from runner.package_files import named_files, read_text, write_text


class ReplaceStructuredValues:
    name = "replace structured values"

    def install(self, deployment: RunningDeployment) -> None:
        paths = named_files(deployment, deployment.properties["structured"])
        if not paths:
            return
        with within_memory("the values of all variables"):
            values = deployment.variables.for_files()
        for path in paths:
            name = path.relative_to(deployment.release_folder).as_posix()
            with within_memory(f"{name}: to change values of this file"):
                self._replace(deployment, path, name, values)

    def _replace(self, deployment: RunningDeployment, path: Path, name: str, values: Mapping[str, str]) -> None:
        text, encoding, bom = read_text(path)
        try:
            replaced, used = format_of(name, text).replace(text, values)
        except FileMalformed as error:
            place = f"{name}:{error.line}" if error.line else name
            raise StepFailed(f"{place}: {error}") from error
        except StepFailed as error:
            raise StepFailed(f"{name}: {error}") from error
        if not used:
            deployment.warn(f"no variable is named like a value of {name}")
            return
        write_text(path, replaced, encoding, bom)
        deployment.say(f"replaced {', '.join(used)} in {name}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """The files lie in a release folder that nothing points to."""
