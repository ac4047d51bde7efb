"""Write the unit's files and have systemd read them; one that it cannot use ends here, while the old one still runs."""

from __future__ import annotations

from pathlib import Path

from runner.deployment import RunningDeployment
from runner.errors import StepFailed
from runner.service_change import ServiceChange, change_of


class WriteUnit:
    name = "write unit"

    def install(self, deployment: RunningDeployment) -> None:
        change = change_of(deployment)
        self._verify(deployment, change)
        for wanted in change.wanted:
            if change.files.make(wanted):
                deployment.say(f"{'wrote' if wanted.content is not None else 'removed'} {wanted.path}")
        if change.files.is_changed or change.before["NeedDaemonReload"] == "yes":
            change.manager.reload_units()
        elif change.wanted:
            deployment.say(f"the unit of {change.unit} is unchanged")
        self._check_loaded(change)

    def rollback(self, deployment: RunningDeployment) -> None:
        change = deployment.recall(ServiceChange)
        if change is None or not change.files.is_changed:
            return
        try:
            for path in change.files.put_back():
                deployment.say(f"{path} is as it was before")
        finally:
            change.manager.reload_units()

    def _verify(self, deployment: RunningDeployment, change: ServiceChange) -> None:
        """What systemd finds odd in a new unit is told; whether it is a fault, systemd itself decides."""
        for wanted in change.wanted:
            if wanted.content is None or not wanted.path.name.endswith(change.unit.rpartition(".")[2]):
                continue
            if not change.files.stands(wanted):
                for line in self._findings(deployment.folder.work, wanted.path.name, wanted.content, change):
                    deployment.warn(f"systemd-analyze verify: {line}")

    def _findings(self, work: Path, name: str, content: bytes, change: ServiceChange) -> list[str]:
        folder = work / ".unit"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        try:
            found = change.manager.verify(path)
        finally:
            path.unlink()
        return [line.replace(f"{folder}/", "") for line in found]

    def _check_loaded(self, change: ServiceChange) -> None:
        state = change.manager.state()
        if state["LoadState"] == "not-found":
            raise StepFailed(f"systemd does not find {change.unit}: it reads no units from where this one lies")
        if state["LoadState"] != "loaded":
            words = state["LoadError"].strip('"') or "see the journal"
            raise StepFailed(f"systemd cannot use {change.unit} ({state['LoadState']}): {words}")
