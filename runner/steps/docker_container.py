"""docker-container: this list is what it does, in this order; a failure takes it back from the last to the first."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.find_container_engine import FindContainerEngine
from runner.conventions.preview_container import PreviewContainer
from runner.conventions.provide_image import ProvideImage
from runner.conventions.remove_old_images import RemoveOldImages
from runner.conventions.replace_container import ReplaceContainer
from runner.pipeline import Step

_CONVENTIONS = (FindContainerEngine(), ProvideImage(), ReplaceContainer(), RemoveOldImages())

STEP = Step(
    kind=StepKind(
        name="docker-container",
        title="Run a container",
        description="Puts a container in the place of the old one, which comes back if the new one does not get well.",
        needs_package=False,
        may_have_package=True,
        properties=(
            Property("name", "text", help="The container's name; one of this name is replaced.", required=True),
            Property(
                "image",
                "text",
                help="The image, such as `registry.example/web:#{Manyarm.Release.Number}`; with a package, which of "
                "its archive's images, where it holds several.",
            ),
            Property("ports", "list", help="`8080:80`, `127.0.0.1:8080:80`, `53:53/udp`.", default=[]),
            Property(
                "environment",
                "list",
                help="`NAME=VALUE`, each of one line; secrets may stand here, and only here.",
                default=[],
            ),
            Property("volumes", "list", help="`data:/var/lib/data`, `/srv/web:/srv/web:ro`.", default=[]),
            Property("network", "text", help="The network it joins; it must be there already."),
            Property("command", "list", help="What it runs instead of the image's own, word by word.", default=[]),
            Property("user", "text", help="Whom it runs as instead of the image's own."),
            Property(
                "restart",
                "choice",
                help="When the engine starts it anew by itself.",
                default="unless-stopped",
                choices=("no", "on-failure", "always", "unless-stopped"),
            ),
            Property("health_command", "text", help="What tells whether it is well, run in it by its shell."),
            Property("options", "list", help="Further words of `docker create`: `--memory=512m`.", default=[]),
            Property("wait_s", "integer", help="Seconds in which it must be well.", default=60, least=1, most=3600),
            Property("settle_s", "integer", help="Seconds it must then stay so.", default=3, least=0, most=600),
            Property(
                "stop_s", "integer", help="Seconds to end in before it is killed.", default=10, least=0, most=3600
            ),
            Property(
                "pull",
                "choice",
                help="When an image is fetched from its registry.",
                default="missing",
                choices=("missing", "always", "never"),
            ),
            Property("registry_user", "text", help="Who signs in to the image's registry."),
            Property("registry_password", "text", help="That one's password or token: `#{RegistryToken}`."),
            Property(
                "keep_images",
                "integer",
                help="How many former images out of packages stay on the machine.",
                default=2,
                least=0,
                most=1000,
            ),
            Property(
                "engine",
                "choice",
                help="`auto` takes docker where it is installed, else podman.",
                default="auto",
                choices=("auto", "docker", "podman"),
            ),
        ),
    ),
    conventions=_CONVENTIONS,
    switch=_CONVENTIONS,
    preview=(PreviewContainer(),),
)
