"""What a preview does: it changes copies of a package, once with the secrets and once with stand-ins, and compares.

work/preview/before      as extracted
work/preview/after       shares its files until one is changed, for whoever changes a file puts a new one in its place
work/preview/stand-ins   the same, without the secrets
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from runner.contract.archives import Limits, safe_unpack
from runner.contract.errors import ContractError
from runner.contract.template import references
from runner.conventions.open_application_folder import application_folder_of
from runner.deployment import RunningDeployment
from runner.errors import RunnerError
from runner.file_changes import FileChanges, QuietChannel, without_secrets
from runner.job_variables import OUTPUT_NAME
from runner.package_files import named_files, read_text
from runner.packaged_scripts import packaged_scripts
from runner.pipeline import Convention

COMPARING_S = 120


def preview(deployment: RunningDeployment, conventions: Sequence[Convention]) -> None:
    """Tell what the conventions, done to the package in this order, would change.

    Raises:
        StepFailed: what the first failing convention raised, once what was done before is told.
    """
    folder = deployment.folder.work / "preview"
    try:
        _preview(deployment, conventions, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _preview(deployment: RunningDeployment, conventions: Sequence[Convention], folder: Path) -> None:
    before, count = _extracted(deployment, folder / "before")
    told = _told_of_the_package(deployment)
    for name, value in told.items():
        deployment.set_variable(name, value)
    _say_what_is_not_done(deployment, before)
    deployment.release = _copied(before, folder / "after")
    for name in _unknown_outputs(deployment):
        deployment.set_variable(name, f"#{{{name}}}")
        deployment.warn(f"{name} is known only in a deployment; here it stays as it stands")
    try:
        _do(deployment, conventions)
    finally:
        # Also of what was done before a fault: that is told, and then the fault.
        changed = _told_changes(deployment, before, _with_stand_ins(deployment, conventions, told, before))
    words = f"{changed} of {count} files" if changed else "no file"
    deployment.say(f"{words} would change")


def _do(deployment: RunningDeployment, conventions: Sequence[Convention]) -> None:
    for convention in conventions:
        convention.install(deployment)


def _with_stand_ins(
    deployment: RunningDeployment, conventions: Sequence[Convention], told: Mapping[str, str], before: Path
) -> Path:
    """The same once more, as far as it can be done without the secrets; the copy it was done to."""
    if not deployment.job.secret_names:
        return deployment.release_folder
    copy = _copied(before, before.with_name("stand-ins"))
    quiet = replace(without_secrets(deployment), release=copy)
    for name, value in told.items():
        quiet.set_variable(name, value)
    for name in _unknown_outputs(quiet):
        quiet.set_variable(name, f"#{{{name}}}")
    with suppress(RunnerError, ContractError, OSError):
        _do(quiet, conventions)
    return copy


def _extracted(deployment: RunningDeployment, folder: Path) -> Tuple[Path, int]:
    package = deployment.package
    folder.parent.mkdir(mode=0o700)
    limits = Limits(total_bytes=deployment.job_file.limits.disk_bytes)
    found = safe_unpack(deployment.package_file, folder, limits, extension=package.extension)
    count = sum(not entry.is_directory for entry in found.entries)
    deployment.say(f"comparing {package.id} {package.version} ({count} files) with what a deployment would make of it")
    return folder, count


def _told_of_the_package(deployment: RunningDeployment) -> Dict[str, str]:
    """What a deployment would tell, had the package its place by now."""
    package = deployment.package
    release = application_folder_of(deployment).free_name(package.version)
    return {
        "Manyarm.Package.Id": package.id,
        "Manyarm.Package.Version": package.version,
        "Manyarm.Package.ReleaseDirectory": str(release),
        "Manyarm.Package.InstallDirectory": deployment.text("copy_to") or str(release),
    }


def _say_what_is_not_done(deployment: RunningDeployment, before: Path) -> None:
    typed = deployment.properties["pre_deploy"]
    if (typed and typed.strip()) or packaged_scripts(before, "PreDeploy"):
        deployment.warn("PreDeploy scripts are not run in a preview: what they change in files is not shown")


def _copied(folder: Path, other: Path) -> Path:
    shutil.copytree(folder, other, symlinks=True, copy_function=_shared)
    return other


def _shared(path: str, other: str) -> None:
    """The same file under another name, or where that cannot be, another one like it."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copy2(path, other)


def _unknown_outputs(deployment: RunningDeployment) -> List[str]:
    """What earlier steps would say, wherever it is named: in values, and in files in which values are put."""
    unknown: Dict[str, None] = {}
    for text in _texts(deployment):
        with suppress(ContractError):
            for name in references(text):
                if OUTPUT_NAME.match(name) and deployment.variables.value(name) is None:
                    unknown[name] = None
    return list(unknown)


def _texts(deployment: RunningDeployment) -> Iterator[str]:
    yield from deployment.job.variables.values()
    # What it says of its globs is said when they are used.
    quiet = replace(deployment, channel=QuietChannel())
    with suppress(RunnerError, ContractError, OSError):
        for path in named_files(quiet, deployment.properties["substitute_in"]):
            yield read_text(path)[0]


def _told_changes(deployment: RunningDeployment, before: Path, other: Path) -> int:
    told = FileChanges(deployment)
    until = time.monotonic() + COMPARING_S
    for path in _changed(deployment.release_folder, before):
        name = path.relative_to(deployment.release_folder)
        if time.monotonic() > until:
            deployment.warn(f"{name} and what follows it is not compared: {COMPARING_S} seconds are over")
            break
        beside = (other / name).read_bytes()
        told.tell(name.as_posix(), (before / name).read_bytes(), path.read_bytes(), beside=beside)
    return told.count


def _changed(folder: Path, before: Path) -> List[Path]:
    """Files that are no longer those of the package, by name."""
    found: List[Path] = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink() and not path.samefile(before / path.relative_to(folder)):
                found.append(path)
    return sorted(found)
