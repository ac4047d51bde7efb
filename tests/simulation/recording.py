"""`python -m tests.simulation.recording RELEASE`: writes down histories as this release lives them, for all later ones.

A file of recorded/ is written once, when its release is made, and never anew: later code has to take up each of these
tasks from any of its turns, by the plan and the progress as they stood in the rows of that release.
"""

import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hub.orchestrator.effects import Effect, SendJob
from hub.orchestrator.events import Event
from hub.orchestrator.plan import DeploymentPlan, PlannedJob, PlannedStep
from hub.orchestrator.plan_codec import encode_plan
from hub.orchestrator.standing import beginning, encode_progress
from hub.states import TASK_ENDED
from tests.simulation.history import tell
from tests.simulation.hub_model import Hub
from wire.messages import PackageRef, PackageRole

RECORDED = Path(__file__).parent / "recorded"
_HISTORIES = 24
_SEEDS = 3_000
_RUNNER = PackageRef(
    PackageRole.RUNNER, "a" * 32, "b" * 64, "c" * 64, "manyarm-runner", "1.0.0", "pyz", 9, "d" * 64, "00"
)
_WEB = PackageRef(PackageRole.PACKAGE, "e" * 32, "f" * 64, "0" * 64, "storefront", "1.4.2", "zip", 5, "1" * 64, "")


class RecordingHub(Hub):
    """Writes down what its task lives through; a restore begins it anew."""

    turns: list[dict[str, Any]]
    begins: str
    last: "RecordingHub"

    def start_task(self) -> None:
        self.rows.plan = _furnished(self.rows.plan)
        _begin(self, encode_progress(beginning(self.rows.plan)))
        super().start_task()

    def restored(self) -> None:
        _begin(self, encode_progress(self.rows.progress))
        super().restored()

    def _advance(self, events: Sequence[Event]) -> Sequence[Effect]:
        before = self.rows.progress
        effects = super()._advance(events)
        if events and (effects or self.rows.progress != before):
            RecordingHub.turns.append(
                {
                    "now_ms": self.clock,
                    "events": [[type(event).__name__, asdict(event)] for event in events],
                    "sends": [effect.job for effect in effects if isinstance(effect, SendJob)],
                    "progress": encode_progress(self.rows.progress),
                }
            )
            RecordingHub.last = self
        return effects


def _begin(hub: RecordingHub, begins: str) -> None:
    RecordingHub.turns, RecordingHub.begins, RecordingHub.last = [], begins, hub


def main(release: str) -> int:
    """0 where the file was written."""
    path = RECORDED / f"{release}.json"
    if path.exists():
        sys.stderr.write(f"{path} was written when {release} was made\n")
        return 1
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(history, separators=(",", ":")) for history in _histories())
    path.write_text(f'{{"release": "{release}", "histories": [\n{lines}\n]}}\n', encoding="ascii")
    return 0


def _histories() -> list[dict[str, Any]]:
    """Each of another kind: by what happened in it, and how it ended."""
    kinds: dict[tuple[Any, ...], dict[str, Any]] = {}
    for seed in range(_SEEDS):
        told = tell(seed, hub_kind=RecordingHub)
        rows = RecordingHub.last.rows
        assert not told.wrong
        assert rows.progress.state in TASK_ENDED
        turns = RecordingHub.turns
        names = frozenset(name for turn in turns for name, _ in turn["events"])
        kind = (rows.progress.state, names)
        if len(turns) > 2 and kind not in kinds:
            kinds[kind] = _written(seed, rows.plan, turns)
        if len(kinds) == _HISTORIES:
            break
    return list(kinds.values())


def _written(seed: int, plan: DeploymentPlan, turns: list[dict[str, Any]]) -> dict[str, Any]:
    rows = RecordingHub.last.rows
    return {
        "seed": seed,
        "plan": base64.b64encode(encode_plan(plan)).decode(),
        "told": {cid: plan.job_json(cid) for cid in plan.attempts},
        "begins": RecordingHub.begins,
        "turns": turns,
        "task": rows.progress.state,
        "jobs": {job: progress.state for job, progress in rows.progress.jobs.items()},
    }


def _furnished(plan: DeploymentPlan) -> DeploymentPlan:
    """With everything in it that a plan can have."""
    steps = tuple(_furnished_step(step) for step in plan.steps)
    packages = {ref.manifest_id: ref for ref in (_RUNNER, _WEB)}
    return replace(
        plan, steps=steps, packages=packages, runner=_RUNNER.manifest_id, warnings=("target db-1 is disabled",)
    )


def _furnished_step(step: PlannedStep) -> PlannedStep:
    return replace(
        step,
        kind="deploy-package",
        package=_WEB.manifest_id,
        properties={"install_to": "/srv/storefront", "substitute_in": ["**/*.html"], "keep": 5},
        variables={"Greeting": "Hello ünïcödé"},
        secrets={"ApiToken": "2" * 32},
        expose_env=("Greeting",),
        isolation="storefront",
        run_as="",
        batches=tuple(tuple(_furnished_job(job) for job in batch) for batch in step.batches),
    )


def _furnished_job(job: PlannedJob) -> PlannedJob:
    endpoint = {"kind": "ssh", "host": "web.example.com", "port": 22, "allow_weak": False}
    target = replace(job.target, endpoint=endpoint)
    secrets = {"Manyarm.Endpoint.private_key": f"account:{'3' * 32}:private_key"}
    return replace(job, target=target, variables={"Port": "8080"}, secrets=secrets, expose_env=("Port",))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
