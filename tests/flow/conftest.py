"""Flow tests share one hub; each makes its own project or script."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

PROJECT = """
kind: Lifecycle
name: {name}
phases:
  - {{name: Try, environments: [Test]}}
  - {{name: Live, environments: [Live], require: all}}
---
kind: Project
name: {name}
lifecycle: {name}
variables:
  - {{name: Greeting, value: "Hello from #{{Manyarm.Environment.Name}}"}}
  - {{name: ApiToken, secret: true, value_from_env: FLOW_TOKEN}}
  - {{name: Folder, value: "#{{Manyarm.Home}}/sites/{name}"}}
process:
  - name: Install
    kind: deploy-package
    roles: [web]
    package: {package}
    properties:
      install_to: "#{{Folder}}"
      substitute_in: ["*.html"]
      structured: ["settings.json"]
  - name: Look
    kind: run-script
    roles: [web]
    shell: bash
    script: |
      cat "$(get_variable Folder)/current/index.html"
      echo "token $(get_variable ApiToken)"
      set_variable Seen "$(get_variable Greeting)"
  - name: Tell
    kind: run-script
    roles: [web]
    shell: python
    script: |
      from manyarm import get_variable
      print("seen:", get_variable("Manyarm.Step[Look].Output[web-1].Seen"))
"""


@pytest.fixture
def application(whole, tmp_path):
    """Makes a project with one package version and a release of it; gives back the project's name."""

    def make(name: str, version: str = "1.0.0") -> str:
        package = name.lower()
        file = tmp_path / f"{package}.{version}.tar"
        archive(file, {"index.html": f"<p>#{{Greeting}} {version}</p>\n", "settings.json": '{"Greeting": "none"}\n'})
        whole.environ["FLOW_TOKEN"] = "s3cret-flow-token"
        (tmp_path / "project.yaml").write_text(PROJECT.format(name=name, package=package))
        whole.manyarm("apply", "-f", str(tmp_path / "project.yaml"))
        whole.manyarm("package", "push", str(file))
        whole.manyarm("release", "create", name, "--version", version)
        return name

    return make


def archive(path: Path, files: Mapping[str, str | bytes]) -> None:
    with tarfile.open(path, "w") as out:
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
