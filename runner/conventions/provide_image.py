"""Have the image on this machine: out of the step's package, or from its registry."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path

from runner.container_change import ContainerChange, change_of
from runner.container_image import image_name
from runner.contract.job import JobPackage
from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.job_folder import ACCOUNT_FOLDER


class ProvideImage:
    name = "provide image"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        package = deployment.job.package
        change.image = image_name(deployment)
        if package is not None:
            self._from_package(deployment, change, package)
        else:
            self._from_registry(deployment, change)
        found = change.engine.image_id(change.image)
        if found is None:
            raise StepFailed(f"the image {change.image} is not on this machine, and may not be fetched (`pull: never`)")
        change.image_id = found

    def rollback(self, deployment: RunningDeployment) -> None:
        """An image that nothing runs does no harm, and the next attempt finds it there."""

    def _from_package(self, deployment: RunningDeployment, change: ContainerChange, package: JobPackage) -> None:
        """Load its archive, once; from then on it is known by a name that says which package it came from."""
        engine = change.engine
        if engine.image_id(change.image) is not None:
            deployment.say(f"the image of {package.id} {package.version} is on this machine already")
            return
        source = deployment.job_file.packages.get(package.manifest_id)
        if source is None:
            raise StepFailed(
                f"the image of {package.id} {package.version} is not on this machine any more (it keeps "
                f"{deployment.properties['keep_images']}); deploy it instead"
            )
        names_before = engine.image_names()
        loaded = engine.load(Path(source))
        wanted = deployment.text("image")
        if wanted and engine.image_id(wanted) is None:
            raise StepFailed(f"the archive {package.id} {package.version} holds no image {wanted}: {', '.join(loaded)}")
        if not wanted and len(loaded) != 1:
            raise StepFailed(
                f"the archive {package.id} {package.version} holds {len(loaded)} images ({', '.join(loaded)}): "
                "name one by `image`"
            )
        engine.must("tag", wanted or loaded[0], change.image)
        # A name that nobody takes away again would hold the image for ever.
        for name in set(loaded) - set(names_before):
            if ":" in name and not name.startswith("sha256:"):
                engine.try_to("rmi", name)
        deployment.say(f"loaded {wanted or loaded[0]} out of {package.id} {package.version}")

    def _from_registry(self, deployment: RunningDeployment, change: ContainerChange) -> None:
        way = deployment.properties["pull"]
        if way == "never" or (way == "missing" and change.engine.image_id(change.image) is not None):
            return
        folder = deployment.folder.work / ACCOUNT_FOLDER
        try:
            self._sign_in(deployment, change, folder)
            change.engine.pull(change.image)
        except StepFailed as error:
            raise StepFailed(f"the image {change.image} cannot be fetched: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        deployment.say(f"fetched {change.image}")

    def _sign_in(self, deployment: RunningDeployment, change: ContainerChange, folder: Path) -> None:
        """The credentials stand in a private file for as long as the image is fetched."""
        user, password = deployment.text("registry_user"), deployment.text("registry_password")
        if not user:
            return
        registry = change.image.split("/")[0]
        if "/" not in change.image or not ("." in registry or ":" in registry or registry == "localhost"):
            registry = "https://index.docker.io/v1/" if change.engine.name == "docker" else "docker.io"
        told = {"auths": {registry: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode("ascii")}}}
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "config.json"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(json.dumps(told).encode("ascii"))
        change.engine.sign_in(file)
