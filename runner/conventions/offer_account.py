"""Give the scripts of this run the target's cloud account, as the cloud's own tools expect it; gone when it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from runner.cloud import Access, Cloud, CloudAccount
from runner.clouds import find_cloud
from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.job_folder import ACCOUNT_FOLDER

_FIELDS = "Manyarm.Account."
_SIGN_IN_S = 120.0
_WORDS_KEPT = 2000


class OfferAccount:
    name = "offer account"

    def install(self, deployment: RunningDeployment) -> None:
        account = _account_of(deployment)
        cloud = find_cloud(account.kind)
        access = cloud.access(account)
        other_tool = deployment.text("tool")
        tool = other_tool or cloud.tool
        if tool:
            _must_be_installed(tool, cloud, deployment)
        folder = deployment.folder.work / ACCOUNT_FOLDER
        deployment.scripts.offered = {**_said(access.environment), **_laid_out(access, folder)}
        _tell(deployment, account)
        if not other_tool:
            for command in access.sign_in:
                _run(tuple(word.replace("{folder}", str(folder)) for word in command), deployment)

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing stays: see `finish`."""

    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None:  # noqa: ARG002  in any case
        """Take the files away; the supervisor does the same where this process was ended."""
        shutil.rmtree(deployment.folder.work / ACCOUNT_FOLDER, ignore_errors=True)


def _account_of(deployment: RunningDeployment) -> CloudAccount:
    endpoint = deployment.job.endpoint
    given: Dict[str, Any] = endpoint.get("account") or {}
    if endpoint.get("kind") != "cloud" or not given:
        raise StepFailed(
            "this step needs an account: let it run on a cloud target, or give it `on: hub` and the property `account`"
        )
    named = [name for name in deployment.job.secret_names if name.startswith(_FIELDS)]
    return CloudAccount(
        name=str(given.get("name", "")),
        kind=str(given.get("kind", "")),
        fields={str(name): str(value) for name, value in (given.get("fields") or {}).items()},
        secrets={name[len(_FIELDS) :]: deployment.variables.value(name) or "" for name in named},
        region=str(endpoint.get("region") or ""),
    )


def _must_be_installed(tool: str, cloud: Cloud, deployment: RunningDeployment) -> None:
    path = deployment.scripts.path
    if shutil.which(tool, path=path) is None:
        cure = cloud.install if tool == cloud.tool else "install it"
        raise StepFailed(
            f"the tool {tool!r} is not installed where this step runs: {cure} for all users, or name another one with "
            f"`tool` (looked in {path})"
        )


def _said(environment: Mapping[str, str]) -> Dict[str, str]:
    return {name: value for name, value in environment.items() if value}


def _laid_out(access: Access, folder: Path) -> Dict[str, str]:
    """Write the files, 0600, and give the variables that hold their paths."""
    folder.mkdir(mode=0o700)
    for name, content in access.files.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode("utf-8", "surrogateescape"))
    for name in access.paths.values():
        if name.endswith("/"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
    return {variable: str(folder / name) for variable, name in access.paths.items()}


def _tell(deployment: RunningDeployment, account: CloudAccount) -> None:
    """What scripts may want to know of their target, as variables."""
    deployment.set_variable("Manyarm.Target.Region", account.region)
    deployment.set_variable("Manyarm.Account.Name", account.name)
    properties: Dict[str, Any] = deployment.job.endpoint.get("properties") or {}
    for name, value in properties.items():
        deployment.set_variable(f"Manyarm.Target.Properties.{name}", str(value))


def _run(command: Tuple[str, ...], deployment: RunningDeployment) -> None:
    """One command of the cloud's own tool.

    Raises:
        StepFailed: it did not work; with what it said.
    """
    what = " ".join(command[:2])
    try:
        ran = subprocess.run(
            command,
            env=deployment.scripts.program_environment(),
            cwd=deployment.folder.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SIGN_IN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"`{what}` did not end within {_SIGN_IN_S:g} seconds") from error
    if ran.returncode:
        said = ran.stdout.decode("utf-8", "replace").strip()[-_WORDS_KEPT:]
        raise StepFailed(f"`{what}` ended with exit code {ran.returncode}: {said}")
