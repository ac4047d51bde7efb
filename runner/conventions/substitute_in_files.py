"""Replace `#{…}` in the files that the step names."""

from __future__ import annotations

from runner.deployment import RunningDeployment
from runner.memory import within_memory
from runner.package_files import named_files, read_text, write_text


class SubstituteInFiles:
    name = "substitute variables in files"

    def install(self, deployment: RunningDeployment) -> None:
        strict = not deployment.properties["allow_unknown"]
        for path in named_files(deployment, deployment.properties["substitute_in"]):
            name = path.relative_to(deployment.release_folder).as_posix()
            with within_memory(f"{name}: to fill in variables of this file"):
                text, encoding, bom = read_text(path)
                expanded = deployment.variables.expand(text, name, strict=strict, warn=deployment.warn)
                if expanded != text:
                    write_text(path, expanded, encoding, bom)
                    deployment.say(f"substituted variables in {name}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """The files lie in a release folder that nothing points to."""
