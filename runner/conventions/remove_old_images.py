"""Of the images that came out of a package the newest few stay, so that going back needs no byte."""

from __future__ import annotations

from runner.container_change import change_of
from runner.container_image import kept_image
from runner.deployment import RunningDeployment


class RemoveOldImages:
    name = "remove old images"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        package = deployment.job.package
        if package is None:
            return
        prefix = kept_image(package).rpartition(":")[0]
        others = [n for n in change.engine.image_names() if n.startswith(f"{prefix}:") and n != change.image]
        # The one to go back to is the last to go; the others' order is the engine's, newest first.
        others.sort(key=lambda n: n != change.former_image)
        for name in others[deployment.properties["keep_images"] :]:
            if not change.engine.try_to("rmi", name).code:
                deployment.say(f"removed the image {name}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """It is the last that is done."""
