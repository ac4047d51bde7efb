"""docker or podman as a step uses it: asked and told by its command, with sentences for what stands in the way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple

from runner.errors import StepFailed
from runner.system_access import Ran, SystemAccess

ENGINES = ("docker", "podman")
_LOG_LINES = 50
_LINE_MAX = 2000
_PULL_S = 1800.0


@dataclass(frozen=True)
class Container:
    """What the engine says of a container."""

    said: Dict[str, Any]

    @property
    def state(self) -> Dict[str, Any]:
        found: Dict[str, Any] = self.said.get("State") or {}
        return found

    @property
    def labels(self) -> Dict[str, str]:
        found: Dict[str, str] = (self.said.get("Config") or {}).get("Labels") or {}
        return found

    @property
    def is_running(self) -> bool:
        return bool(self.state.get("Running")) and not self.state.get("Restarting") and not self.state.get("Paused")

    @property
    def has_ended(self) -> bool:
        return self.state.get("Status") in ("exited", "dead", "stopped")

    @property
    def restarts(self) -> int:
        return int(self.said.get("RestartCount") or 0)

    @property
    def is_checked(self) -> bool:
        """Whether it has a health check of its own."""
        check = (self.said.get("Config") or {}).get("Healthcheck") or {}
        return bool(check.get("Test")) and check["Test"] != ["NONE"]

    @property
    def keeper(self) -> int:
        """The process that holds it, of podman, which has no daemon; 0 where there is none."""
        return int(self.state.get("ConmonPid") or 0)

    @property
    def health(self) -> str:
        """`starting`, `healthy`, `unhealthy`; empty where nothing checks it."""
        return str((self.state.get("Health") or {}).get("Status") or "") if self.is_checked else ""

    @property
    def life(self) -> str:
        """The same as long as it is the same start of the same process."""
        return f"{self.restarts} {self.state.get('StartedAt')} {self.state.get('Pid')}"

    @property
    def words(self) -> str:
        state = str(self.state.get("Status"))
        if self.state.get("OOMKilled"):
            return f"{state}, it ran out of memory"
        if self.has_ended or self.state.get("Restarting"):
            return f"{state}, it ended with exit code {self.state.get('ExitCode')}"
        return f"{state}, {self.health}" if self.health else state


class ContainerEngine:
    """The command `docker`, or `podman`, which takes the same words."""

    def __init__(self, access: SystemAccess, wanted: str) -> None:
        self._access = access
        names = ENGINES if wanted == "auto" else (wanted,)
        found = [(name, path) for name in names if (path := access.find(name))]
        if not found:
            raise StepFailed(f"{' and '.join(names)}: not installed on this machine (looked in {access.path})")
        self.name, self._program = found[0]
        self._environment: Dict[str, str] = {}

    def sign_in(self, file: Path) -> None:
        """From here on use the registry's credentials in this file, `config.json` in a folder of its own."""
        self._environment = {"DOCKER_CONFIG": str(file.parent), "REGISTRY_AUTH_FILE": str(file)}

    def must(self, *words: str, timeout_s: float = 120.0, pass_fds: Tuple[int, ...] = ()) -> str:
        """What a command printed.

        Raises:
            StepFailed: it did not work; the message says what may help.
        """
        ran = self._run(words, timeout_s, pass_fds)
        if ran.code:
            raise self._fault(words, ran)
        return ran.out.strip()

    def try_to(self, *words: str, timeout_s: float = 120.0) -> Ran:
        return self._run(words, timeout_s)

    def container(self, name: str) -> Container | None:
        """A container by its name; None where there is none."""
        found = self._inspect("container", name)
        return None if found is None else Container(found)

    def image_id(self, name: str) -> str | None:
        """What an image's name stands for on this machine; None where it stands for nothing."""
        found = self._inspect("image", name)
        return None if found is None else str(found["Id"])

    def pull(self, image: str) -> None:
        self.must("pull", "--quiet", image, timeout_s=_PULL_S)

    def names(self) -> Set[str]:
        """Every container's name."""
        return set(self.must("ps", "--all", "--format", "{{.Names}}").split())

    def image_names(self) -> List[str]:
        """Every name of an image here, newest image first."""
        return self.must("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()

    def load(self, archive: Path) -> List[str]:
        """Have the images of an archive that `docker save` made; their names, or the id of one without."""
        out = self.must("load", "--input", str(archive), timeout_s=_PULL_S)
        lines = [line.partition(":") for line in out.splitlines() if line.startswith("Loaded image")]
        return [name.strip() for _, _, names in lines for name in names.split(",") if name.strip()]

    def logs(self, name: str) -> List[str]:
        """What a container printed last."""
        ran = self._run(("logs", "--tail", str(_LOG_LINES), name), 30.0)
        return [line[:_LINE_MAX] for line in f"{ran.out}\n{ran.err}".splitlines() if line][-_LOG_LINES:]

    def look_after_health(self, name: str) -> None:
        """Run its health check now: podman leaves that to systemd, which need not be there."""
        if self.name == "podman":
            self._run(("healthcheck", "run", name), 60.0)

    def _inspect(self, kind: str, name: str) -> Dict[str, Any] | None:
        ran = self._run((kind, "inspect", name), 30.0)
        if ran.code:
            if "no such" in ran.err.casefold() or "not known" in ran.err or "does not exist" in ran.err:
                return None
            raise self._fault((kind, "inspect"), ran)
        found: Dict[str, Any] = json.loads(ran.out)[0]
        return found

    def _run(self, words: Sequence[str], timeout_s: float, pass_fds: Tuple[int, ...] = ()) -> Ran:
        return self._access.run(
            (self._program, *words),
            timeout_s=timeout_s,
            environment=self._environment,
            pass_fds=pass_fds,
            kept_bytes=4 * 1024**2,
        )

    def _fault(self, words: Sequence[str], ran: Ran) -> StepFailed:
        said = ran.words
        user = self._access.user
        if "permission denied" in said and "docker" in said and "sock" in said:
            return StepFailed(
                f"user {user} may not use docker: `usermod --append --groups docker {user}` and a restart of the spoke "
                "let it; whoever may is root on this machine (podman needs no such right: `engine: podman`)"
            )
        if "Cannot connect to the Docker daemon" in said or "Is the docker daemon running" in said:
            return StepFailed("docker's daemon does not answer: `systemctl start docker` starts it")
        return StepFailed(f"`{self.name} {words[0]}` failed: {said}")
