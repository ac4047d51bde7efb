"""Transform the XML files that the step names (`Web.Release.config => Web.config`), as XDT does."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

from runner.deployment import RunningDeployment
from runner.errors import FileMalformed, StepFailed
from runner.memory import within_memory
from runner.package_files import named_files, read_text, write_text
from runner.xml_transform import TransformFailed, transform

# A file, and its name for messages.
_Named = Tuple[Path, str]


class TransformXml:
    name = "transform XML files"

    def install(self, deployment: RunningDeployment) -> None:
        for rule in deployment.properties["transforms"]:
            plan, files = _named(deployment, rule)
            for path in files:
                self._transform(deployment, plan, path)

    def rollback(self, deployment: RunningDeployment) -> None:
        """The files lie in a release folder that nothing points to."""

    def _transform(self, deployment: RunningDeployment, plan: Path, path: Path) -> None:
        name, by = (one.relative_to(deployment.release_folder).as_posix() for one in (path, plan))
        with within_memory(f"{name}: to transform this file"):
            self._transformed(deployment, (plan, by), (path, name))

    def _transformed(self, deployment: RunningDeployment, by_plan: _Named, of_file: _Named) -> None:
        (plan, by), (path, name) = by_plan, of_file
        text, encoding, bom = read_text(path)
        try:
            transformed, count = transform(text, read_text(plan)[0])
        except TransformFailed as error:
            raise StepFailed(f"{by}:{error.line}: {error}") from error
        except FileMalformed as error:
            raise StepFailed(f"{name}:{error.line}: {error}") from error
        if transformed != text:
            write_text(path, transformed, encoding, bom)
        deployment.say(f"transformed {name} by {by}: {count} changes")


def _named(deployment: RunningDeployment, rule: str) -> Tuple[Path, List[Path]]:
    """The transform and the files of one rule; each side is a glob, of which the first must name one file."""
    by, arrow, name = (part.strip() for part in rule.partition("=>"))
    if not (by and arrow and name):
        raise StepFailed(f"property transforms: expected FROM => TO, found {rule!r}")
    plans, files = named_files(deployment, [by]), named_files(deployment, [name])
    if len(plans) != 1 or not files:
        raise StepFailed(f"property transforms: {rule!r} names {len(plans)} transforms and {len(files)} files")
    return plans[0], [path for path in files if path != plans[0]]
