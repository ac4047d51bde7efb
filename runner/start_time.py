"""How long an empty job takes from a cold start, beside an interpreter that does nothing, on the same machine."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

ROUNDS = 20
# The target: at most this many times the bare interpreter, and so much more.
TIMES_BARE, AND_S = 1.5, 0.030
_GO = b'{"secrets":{},"go":true}\n'


@dataclass(frozen=True)
class StartTime:
    """Medians in seconds."""

    bare_s: float
    job_s: float
    archive_s: float
    rounds: int

    @property
    def allowed_s(self) -> float:
        return TIMES_BARE * self.bare_s + AND_S

    def __str__(self) -> str:
        verdict = "met" if self.job_s <= self.allowed_s else "MISSED"
        rows = (
            (self.bare_s, "python3 -I -S -c pass"),
            (self.job_s, "an empty job, unpacked and compiled as on a target"),
            (self.archive_s, "the same from the archive, which compiles each file that it reads"),
            (self.allowed_s, f"allowed ({TIMES_BARE} times the first, and {AND_S * 1000:.0f} ms): {verdict}"),
        )
        shown = [f"  {seconds * 1000:6.1f} ms  {what}" for seconds, what in rows]
        return "\n".join([*shown, f"  medians of {self.rounds} rounds, each of all rows; no supervisor stands by"])


def measured(archive: Path, python: str, *, rounds: int) -> StartTime:
    """Run each once a round, so that a loaded moment of the machine falls on all."""
    with tempfile.TemporaryDirectory(prefix="manyarm-start-") as place:
        tree = Path(place, "runner")
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(tree)
        compile_all = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(tree))
        subprocess.run([python, "-I", "-S", *compile_all], check=True)
        found = [_round(python, tree, archive, Path(place, str(number))) for number in range(rounds)]
    bare_s, job_s, archive_s = (statistics.median(column) for column in zip(*found))
    return StartTime(bare_s, job_s, archive_s, rounds)


def _round(python: str, tree: Path, archive: Path, folder: Path) -> Tuple[float, float, float]:
    bare_s = _timed([python, "-I", "-S", "-c", "pass"])
    return bare_s, _job(python, tree, folder / "tree"), _job(python, archive, folder / "archive")


def _job(python: str, runner: Path, folder: Path) -> float:
    folder.mkdir(mode=0o700, parents=True)
    (folder / "job.json").write_text(json.dumps(_empty_job(folder)), encoding="utf-8")
    return _timed([python, "-I", "-S", "-B", str(runner), "supervise", str(folder)])


def _timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, input=_GO, check=True, start_new_session=True)
    return time.perf_counter() - began


def _empty_job(home: Path) -> Dict[str, Any]:
    nothing = {"id": "", "name": "nothing"}
    job = {
        "task": "", "step": {"name": "Nothing", "kind": "run-script"}, "attempt": 1, "target": nothing,
        "environment": nothing, "project": nothing, "release": {"id": "", "version": ""},
        "properties": {"script": "true"}, "variables": {}, "secret_names": [], "expose_env": [], "package": None,
        "isolation": "", "grace_s": 1, "tenant": "",
    }  # fmt: skip
    limits = {"cpu_s": 60, "wall_s": 60, "out_bytes": 1024, "disk_bytes": 1024}
    return {"format": 1, "job": job, "cid": "0" * 32, "packages": {}, "home": str(home), "limits": limits, "run_as": ""}
