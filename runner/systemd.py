"""systemd as a step uses it: one unit, asked for and told by `systemctl`, with sentences for what stands in the way."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from runner.errors import StepFailed
from runner.system_access import Ran, SystemAccess

JOURNAL_LINES = 50
_LINE_MAX = 2000
_ASKED = (
    "ActiveState,SubState,Result,Type,NRestarts,InvocationID,MainPID,ExecMainCode,ExecMainStatus,"
    "LoadState,LoadError,UnitFileState,NeedDaemonReload,ActiveEnterTimestampMonotonic"
)
_UP = frozenset({"active", "reloading"})


class StartFailed(StepFailed):
    """systemd started a unit, and it did not come up."""


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit, by the names of its properties."""

    said: Dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.said.get(name, "")

    @property
    def is_up(self) -> bool:
        """It runs; or it is one that runs once, and did."""
        return self["ActiveState"] in _UP or self.has_run_once

    @property
    def has_run_once(self) -> bool:
        return self["Type"] == "oneshot" and self["ActiveState"] == "inactive" and self["Result"] == "success"

    @property
    def has_failed(self) -> bool:
        return self["ActiveState"] == "failed"

    @property
    def is_known(self) -> bool:
        return self["LoadState"] not in ("not-found", "")

    @property
    def restarts(self) -> int:
        return int(self["NRestarts"]) if self["NRestarts"].isdigit() else 0

    @property
    def life(self) -> str:
        """The same as long as it is the same start of the same process."""
        return f"{self['NRestarts']} {self['InvocationID']} {self['MainPID']}"

    @property
    def since(self) -> float:
        """When it became active, in seconds of the wall clock; 0.0 where it never did."""
        stamp = self["ActiveEnterTimestampMonotonic"]
        if not stamp.isdigit() or stamp == "0":
            return 0.0
        return time.time() - (time.clock_gettime(time.CLOCK_MONOTONIC) - int(stamp) / 1e6)

    @property
    def end(self) -> str:
        """How its process ended, where it did not end well; empty otherwise."""
        if self["ExecMainCode"] in ("2", "3"):
            return f", its process was ended by signal {self['ExecMainStatus']}"
        if self["ExecMainStatus"] not in ("", "0"):
            return f", its process ended with exit code {self['ExecMainStatus']}"
        return "" if self["Result"] in ("", "success") else f", result {self['Result']}"

    @property
    def words(self) -> str:
        return f"{self['ActiveState']} ({self['SubState']}){self.end}"


class ServiceManager:
    """`systemctl` and `journalctl` for one unit, of the machine or of this user."""

    def __init__(self, access: SystemAccess, unit: str, *, of_user: bool) -> None:
        self.unit = unit
        self._access = access
        self._of_user = of_user
        self._scope = ("--user",) if of_user else ()
        self._environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"} if of_user else {}

    def state(self) -> UnitState:
        """What systemd says of the unit now.

        Raises:
            StepFailed: there is no systemd to ask.
        """
        ran = self._systemctl("show", f"--property={_ASKED}", "--", self.unit)
        if ran.code:
            raise self.fault("asked for", ran)
        pairs = (line.partition("=") for line in ran.out.splitlines())
        return UnitState({name: value for name, _, value in pairs})

    def tell(self, verb: str, timeout_s: float = 90.0) -> None:
        """`restart`, `enable`, … for this unit.

        Raises:
            NotEnded: it takes longer than this.
            StartFailed: the unit was started, and did not come up.
            StepFailed: it did not work; the message says what may help.
        """
        ran = self._systemctl(verb, "--", self.unit, timeout_s=timeout_s)
        if ran.code and ran.words.startswith("Job for "):
            raise StartFailed(f"{self.unit} did not start: {ran.words}")
        if ran.code:
            raise self.fault(f"told to {verb}", ran)

    def reload_units(self) -> None:
        """Have systemd read all units anew."""
        ran = self._systemctl("daemon-reload")
        if ran.code:
            raise self.fault("told of its new unit", ran)

    def verify(self, path: Path) -> List[str]:
        """What `systemd-analyze verify` finds in a unit's file; nothing where it is not installed."""
        program = self._access.find("systemd-analyze")
        if not program:
            return []
        ran = self._access.run((program, *self._scope, "verify", "--man=no", str(path)), environment=self._environment)
        return [line[:_LINE_MAX] for line in ran.words.splitlines()[:20]] if ran.err.strip() else []

    def journal(self, since: float) -> List[str]:
        """The unit's last lines in the journal from then on; why there are none where there are none."""
        program = self._access.find("journalctl")
        if not program:
            return ["journalctl is not installed; what the service said is not known here"]
        which = "--user-unit" if self._of_user else "--unit"
        ran = self._access.run(
            (
                program, f"{which}={self.unit}", f"--since=@{int(since)}", f"--lines={JOURNAL_LINES}",
                "--no-pager", "--output=cat", "--quiet",
            )
        )  # fmt: skip
        lines = [line[:_LINE_MAX] for line in ran.out.splitlines()]
        if ran.code:
            return [f"the journal cannot be read: {ran.words}"]
        return lines or [f"the journal has no line of it (may {self._access.user} read it? group systemd-journal)"]

    def fault(self, what: str, ran: Ran) -> StepFailed:
        """What systemctl refused, as a sentence that says what to do."""
        words = ran.words
        known = self._no_manager(words) or self._not_allowed(words)
        return StepFailed(known or f"{self.unit} cannot be {what}: {words}")

    def _no_manager(self, words: str) -> str:
        if not any(sign in words for sign in ("Failed to connect to bus", "not been booted with systemd")):
            return ""
        if self._of_user:
            user = self._access.user
            return (
                f"no systemd of user {user} runs here, so that {self.unit} cannot be started: "
                f"`loginctl enable-linger {user}` starts one with the machine"
            )
        return (
            f"this machine is not run by systemd (its first process is {_first_process()!r}), so that {self.unit} "
            "cannot be started here"
        )

    def _not_allowed(self, words: str) -> str:
        if not any(sign in words for sign in ("Access denied", "nteractive authentication", "Permission denied")):
            return ""
        user = self._access.user
        rule = (
            'polkit.addRule(function(action, subject) { if (action.id == "org.freedesktop.systemd1.manage-units" && '
            f'action.lookup("unit") == "{self.unit}" && subject.user == "{user}") return polkit.Result.YES; }});'
        )
        return (
            f"user {user} may not change {self.unit}: let the spoke run as root, or set `sudo: true` and "
            f"{self._access.sudo_line()}; where only a unit that is there is restarted, this rule in "
            f"/etc/polkit-1/rules.d/50-manyarm.rules suffices: {rule}"
        )

    def _systemctl(self, *words: str, timeout_s: float = 60.0) -> Ran:
        program = self._access.find("systemctl")
        if not program:
            raise StepFailed(f"systemctl is not installed on this machine, so that {self.unit} cannot be started here")
        return self._access.run(
            (program, *self._scope, "--no-pager", "--no-ask-password", *words),
            timeout_s=timeout_s,
            environment=self._environment,
        )


def _first_process() -> str:
    try:
        return Path("/proc/1/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "unknown"
