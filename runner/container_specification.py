"""What a container should be, as a step's properties say it; the same digest stands for the same container."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Tuple

from runner.deployment import RunningDeployment
from runner.errors import StepFailed

DIGEST_LABEL = "manyarm.digest"
SPECIFICATION_LABEL = "manyarm.specification"
# Both engines read lines of a file with at most 64 KiB.
_VALUE_MAX_BYTES = 60_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}", re.ASCII)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_PORT = re.compile(r"((\d+\.){3}\d+:|\[[0-9a-fA-F:]+\]:)?(\d+(-\d+)?)?:?\d+(-\d+)?(/(tcp|udp|sctp))?", re.ASCII)
# These are said by properties, or would leave the step without its container.
_OURS = frozenset(
    {"name", "env", "env-file", "label", "detach", "rm", "publish", "volume", "network", "restart", "cidfile"}
)


@dataclass(frozen=True)
class Specification:
    """One container; `environment` may hold secrets, all else stands on a command line."""

    name: str
    image: str
    ports: Tuple[str, ...]
    volumes: Tuple[str, ...]
    network: str
    restart: str
    user: str
    health_command: str
    options: Tuple[str, ...]
    command: Tuple[str, ...]
    environment: Dict[str, str]

    def digest(self, image_id: str) -> str:
        """Whoever may read it, a label, may read the environment too."""
        told = json.dumps([asdict(self), image_id], sort_keys=True).encode("ascii")
        return hashlib.sha256(told).hexdigest()

    def shown(self) -> Dict[str, Any]:
        """For people and previews: without the environment's values."""
        return {**asdict(self), "environment": sorted(self.environment)}

    def arguments(self, name: str, labels: Dict[str, str], environment_file: str) -> List[str]:
        """Of `docker create`, every value within the word of its option."""
        found = [f"--name={name}", f"--restart={self.restart}"]
        found += [f"--label={key}={value}" for key, value in labels.items()]
        found += [f"--env-file={environment_file}"] if self.environment else []
        found += [f"--publish={port}" for port in self.ports]
        found += [f"--volume={volume}" for volume in self.volumes]
        found += [f"--network={self.network}"] if self.network else []
        found += [f"--user={self.user}"] if self.user else []
        found += [f"--health-cmd={self.health_command}"] if self.health_command else []
        return [*found, *self.options, self.image, *self.command]

    def environment_lines(self) -> bytes:
        return "".join(f"{key}={value}\n" for key, value in self.environment.items()).encode("utf-8", "surrogateescape")


def specification_of(deployment: RunningDeployment, image: str) -> Specification:
    """The container that the properties ask for, of this image.

    Raises:
        StepFailed: a property is not as it should be.
    """
    return Specification(
        name=container_name(deployment),
        image=checked_image(image),
        ports=_matching(deployment, "ports", _PORT, "such as 8080:80, 127.0.0.1:8080:80 or 53:53/udp"),
        volumes=_volumes(deployment),
        network=_word(deployment, "network"),
        restart=deployment.properties["restart"],
        user=_word(deployment, "user"),
        health_command=deployment.text("health_command"),
        options=_options(deployment),
        command=tuple(_list(deployment, "command")),
        environment=_environment(deployment),
    )


def container_name(deployment: RunningDeployment) -> str:
    name = deployment.text("name")
    if not _NAME.fullmatch(name):
        raise StepFailed(f"property name: expected letters, digits, dots, dashes, underscores, found {name!r}")
    return name


def checked_image(image: str) -> str:
    if not _IMAGE.fullmatch(image) or len(image) > 512:
        raise StepFailed(f"property image: expected a name such as registry.example/shop/web:1.2, found {image!r}")
    return image


def _list(deployment: RunningDeployment, name: str) -> List[str]:
    return [deployment.variables.expand(item, f"property {name}") for item in deployment.properties[name]]


def _matching(deployment: RunningDeployment, name: str, pattern: re.Pattern[str], example: str) -> Tuple[str, ...]:
    found = _list(deployment, name)
    for item in found:
        if not pattern.fullmatch(item):
            raise StepFailed(f"property {name}: expected {example}, found {item!r}")
    return tuple(found)


def _volumes(deployment: RunningDeployment) -> Tuple[str, ...]:
    found = _list(deployment, "volumes")
    for item in found:
        parts = item.split(":")
        if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/") or ".." in parts[0].split("/"):
            raise StepFailed(
                f"property volumes: expected NAME:/PATH or /PATH:/PATH, then :ro if wanted, found {item!r}"
            )
    return tuple(found)


def _word(deployment: RunningDeployment, name: str) -> str:
    found = deployment.text(name)
    if found and not re.fullmatch(r"[A-Za-z0-9_][\w.:@/-]*", found, re.ASCII):
        raise StepFailed(f"property {name}: expected one word, found {found!r}")
    return found


def _options(deployment: RunningDeployment) -> Tuple[str, ...]:
    found = _list(deployment, "options")
    for item in found:
        name = re.match(r"--([a-z][a-z0-9-]*)", item)
        if not name:
            raise StepFailed(f"property options: expected words such as --memory=512m, found {item!r}")
        if name.group(1) in _OURS:
            raise StepFailed(f"property options: --{name.group(1)} is said by a property of this step, or not at all")
    return tuple(found)


def _environment(deployment: RunningDeployment) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for item in _list(deployment, "environment"):
        name, equals, value = item.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise StepFailed(f"property environment: expected NAME=VALUE, found {name[:80]!r}")
        if any(end in value for end in "\n\r\0"):
            raise StepFailed(
                f"property environment: the value of {name} has several lines, which no container takes this way; "
                "mount it as a file (`volumes`), or let it travel as base64"
            )
        if len(item.encode("utf-8", "surrogateescape")) > _VALUE_MAX_BYTES:
            raise StepFailed(
                f"property environment: the value of {name} has over {_VALUE_MAX_BYTES} bytes; mount it as a file "
                "(`volumes`)"
            )
        found[name] = value
    return found
