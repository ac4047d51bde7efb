"""What an image is called on this machine."""

from __future__ import annotations

import re

from runner.container_specification import checked_image
from runner.contract.job import JobPackage
from runner.deployment import RunningDeployment
from runner.errors import StepFailed

# No registry is ever asked for a name that begins so.
_OURS = "localhost/manyarm"


def image_name(deployment: RunningDeployment) -> str:
    """The name by which the container's image is to be found, once it is on this machine."""
    package = deployment.job.package
    wanted = deployment.text("image")
    if wanted:
        checked_image(wanted)
    if package is not None:
        return kept_image(package)
    if not wanted:
        raise StepFailed("property image: a step without a package needs the name of an image")
    return wanted


def kept_image(package: JobPackage) -> str:
    """The name that an image out of a package gets: the same for the same bytes, for those alone."""
    name = re.sub(r"[^a-z0-9]+", "-", package.id.lower()).strip("-") or "package"
    version = re.sub(r"[^A-Za-z0-9_.-]", "_", package.version)[:100]
    return f"{_OURS}/{name}:{version}-{package.sha256[:12]}"
