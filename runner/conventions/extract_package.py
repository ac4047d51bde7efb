"""Extract the package to a fresh directory: a redeployment never overwrites what is there."""

from __future__ import annotations

import errno
import hashlib
import itertools
import re
from pathlib import Path

from runner.contract.archives import Limits, safe_unpack
from runner.contract.job import JobPackage
from runner.deployment import RunningDeployment
from runner.errors import StepFailed

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


class ExtractPackage:
    """With `install_to` into `<install_to>/releases/<version>`, else into `<home>/applications/…/<version>`."""

    name = "extract package"

    def install(self, deployment: RunningDeployment) -> None:
        package = deployment.job.package
        if package is None:
            raise StepFailed("a step of this kind needs a package, and the job has none")
        source = deployment.job_file.packages.get(package.manifest_id)
        if source is None:
            raise StepFailed(f"the package {package.id} {package.version} did not come with the job")
        root, releases = _root_and_releases(deployment, package)
        releases.mkdir(mode=0o755, parents=True, exist_ok=True)
        limits = Limits(total_bytes=deployment.job_file.limits.disk_bytes)
        release, count = _unpacked(Path(source), releases / safe_name(package.version), limits, package.extension)
        deployment.root, deployment.release = root, release
        deployment.set_variable("Manyarm.Package.Id", package.id)
        deployment.set_variable("Manyarm.Package.Version", package.version)
        deployment.set_variable("Manyarm.Package.InstallDirectory", str(release))
        deployment.channel.output("InstallDirectory", str(release))
        deployment.say(f"extracted {package.id} {package.version} ({count} files) to {release}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """What was extracted stays, so that a person can look at it; nothing points to it."""


def safe_name(text: str) -> str:
    """A file name for a text from elsewhere; two different texts never share one."""
    cleaned = _UNSAFE.sub("_", text)[:100]
    if cleaned == text and text not in ("", ".", ".."):
        return text
    return f"{cleaned.strip('.')}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:8]}"


def _root_and_releases(deployment: RunningDeployment, package: JobPackage) -> tuple[Path, Path]:
    install_to = deployment.text("install_to")
    if install_to:
        root = Path(install_to)
        if not root.is_absolute() or ".." in root.parts:
            raise StepFailed(f"install_to must be an absolute path without '..', not {install_to!r}")
        return root, root / "releases"
    job = deployment.job
    parts = [part for part in (job.tenant, job.environment.name, package.id) if part]
    root = Path(deployment.job_file.home, "applications", *map(safe_name, parts))
    return root, root


def _unpacked(source: Path, wanted: Path, limits: Limits, extension: str) -> tuple[Path, int]:
    """The first of `1.2.3`, `1.2.3-1`, `1.2.3-2`, … that does not exist, now holding the package."""
    for number in itertools.count():
        release = wanted.with_name(f"{wanted.name}-{number}") if number else wanted
        try:
            found = safe_unpack(source, release, limits, extension=extension)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            continue
        return release, sum(not entry.is_directory for entry in found.entries)
    raise AssertionError("itertools.count never ends")
