"""Projects of the kit: one lifecycle for both environments, steps that go to the targets of one kind."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.world import ENVIRONMENTS, Conformance


class Projects:
    """Each test makes its own; `made` gives back the project's name."""

    def __init__(self, world: Conformance, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._number = 0

    def scripts(
        self, kind: str, scripts: Mapping[str, str], *, isolation: str = "", secret: str = "", odd: str = ""
    ) -> str:
        """A project of bash steps with the variables Token (secret) and Odd, and its release 1.0.0."""
        steps = [
            {
                "name": name,
                "kind": "run-script",
                "roles": [kind],
                "shell": "bash",
                "script": script,
                "isolation": isolation,
            }
            for name, script in scripts.items()
        ]
        name = self._apply(kind, steps, odd)
        if secret:
            body = {"name": "Token", "value": secret, "secret": True}
            self._world.call("POST", f"/projects/{name}/variables", body)
        self._world.call("POST", "/releases", {"project": name, "version": "1.0.0"})
        return name

    def of_package(self, kind: str, package: str, **properties: object) -> str:
        """A project that deploys one package and prints the SHA-256 of its `content.bin`."""
        steps = [
            {
                "name": "Install",
                "kind": "deploy-package",
                "roles": [kind],
                "package": package,
                "properties": properties,
            },
            {
                "name": "Look",
                "kind": "run-script",
                "roles": [kind],
                "shell": "bash",
                "script": "cd \"$(get_variable 'Manyarm.Step[Install].Output["
                + kind
                + '].InstallDirectory\')"; echo "sum $(sha256sum < content.bin)"',
            },
        ]
        return self._apply(kind, steps, "")

    def release(self, project: str, package: str, version: str) -> None:
        self._world.call("POST", "/releases", {"project": project, "version": version, "packages": {package: version}})

    def _apply(self, kind: str, steps: list[dict[str, object]], odd: str) -> str:
        self._number += 1
        name = f"{kind}-{self._folder.name}-{self._number}"[:90]
        documents = [
            {"kind": "Lifecycle", "name": "Kit", "phases": [{"name": "All", "environments": list(ENVIRONMENTS)}]},
            {
                "kind": "Project",
                "name": name,
                "lifecycle": "Kit",
                "variables": [{"name": "Odd", "value": odd}],
                "process": steps,
            },
        ]
        file = self._folder / f"{name}.yaml"
        file.write_text("\n---\n".join(json.dumps(document, ensure_ascii=False) for document in documents))
        self._world.manyarm("apply", "-f", str(file))
        return name
