"""PURE. A plan as bytes for its row, and back; and as people see it before anything moves.

What people see names packages, targets and variables, but neither a secret's value (the plan has none) nor the keys
of manifests.
"""

import json
from dataclasses import asdict
from typing import Any

import zstandard

from hub.orchestrator.plan import DeploymentPlan, PlannedJob, PlannedStep, PlannedTarget
from hub.orchestrator.squeezing import squeeze_plan
from hub.orchestrator.states import Condition
from runner.contract.job import Named, ReleaseRef
from wire.messages import Limits, PackageRef, PackageRole

FORMAT = 1
_PLAN_MAX = 256 * 1024 * 1024
_MASK = "***"


def encode_plan(plan: DeploymentPlan) -> bytes:
    written = {
        "format": FORMAT,
        "task": plan.task,
        "project": asdict(plan.project),
        "release": asdict(plan.release),
        "environment": asdict(plan.environment),
        "steps": [_write_step(step) for step in plan.steps],
        "packages": [asdict(ref) for ref in plan.packages.values()],
        "runner": plan.runner,
        "warnings": plan.warnings,
        "deadline_s": plan.deadline_s,
        "mode": plan.mode,
    }
    text = json.dumps(written, separators=(",", ":"), sort_keys=True)
    return squeeze_plan(text.encode("ascii"))


def decode_plan(encoded: bytes) -> DeploymentPlan:
    found = json.loads(zstandard.ZstdDecompressor().decompress(encoded, max_output_size=_PLAN_MAX))
    refs = (PackageRef(**{**ref, "role": PackageRole(ref["role"])}) for ref in found["packages"])
    return DeploymentPlan(
        task=found["task"],
        project=Named(**found["project"]),
        release=ReleaseRef(**found["release"]),
        environment=Named(**found["environment"]),
        steps=tuple(_read_step(step) for step in found["steps"]),
        packages={ref.manifest_id: ref for ref in refs},
        runner=found["runner"],
        warnings=tuple(found["warnings"]),
        deadline_s=found["deadline_s"],
        mode=found["mode"],
    )


def shown(plan: DeploymentPlan) -> dict[str, Any]:
    """The plan as JSON for people: steps > targets > package, variables, command."""
    return {
        "project": plan.project.name,
        "release": plan.release.version,
        "environment": plan.environment.name,
        "mode": plan.mode,
        "warnings": list(plan.warnings),
        "runner": plan.packages[plan.runner].version if plan.runner else None,
        "steps": [_shown_step(plan, step) for step in plan.steps],
    }


def _shown_step(plan: DeploymentPlan, step: PlannedStep) -> dict[str, Any]:
    ref = plan.packages[step.package] if step.package else None
    return {
        "name": step.name,
        "kind": step.kind,
        "mode": step.mode,
        "when": str(step.condition),
        "retries": step.retries,
        "timeout_s": step.limits.wall_s,
        "properties": dict(step.properties),
        "package": None if ref is None else {"id": ref.package, "version": ref.version, "sha256": ref.sha256},
        "batches": [[job.target.name for job in batch] for batch in step.batches],
        "targets": [
            {"id": job.target.id, "name": job.target.name, "variables": _shown_variables(plan, job)}
            for job in step.jobs
        ],
    }


def _shown_variables(plan: DeploymentPlan, job: PlannedJob) -> dict[str, str]:
    told = plan.job(job.id)
    return {**told.variables, **dict.fromkeys(told.secret_names, _MASK)}


def _write_step(step: PlannedStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "batches": [[_write_job(job) for job in batch] for batch in step.batches],
        "limits": asdict(step.limits),
        "condition": step.condition,
        "properties": dict(step.properties),
        "variables": dict(step.variables),
        "secrets": dict(step.secrets),
        "expose_env": step.expose_env,
        "package": step.package,
        "isolation": step.isolation,
        "retries": step.retries,
        "on_unknown": step.on_unknown,
        "grace_s": step.grace_s,
        "pickup_s": step.pickup_s,
        "prepare_s": step.prepare_s,
        "run_as": step.run_as,
        "op": step.op,
        "mode": step.mode,
        "index": step.index,
    }


def _write_job(job: PlannedJob) -> list[Any]:
    target = job.target
    place = [target.id, target.name, target.spoke, target.endpoint]
    return [job.attempts, place, dict(job.variables), dict(job.secrets), job.expose_env, job.pickup_s]


def _read_step(found: dict[str, Any]) -> PlannedStep:
    index = found["index"]
    batches = tuple(tuple(_read_job(index, job) for job in batch) for batch in found["batches"])
    rest = {
        "limits": Limits(**found["limits"]),
        "condition": Condition(found["condition"]),
        "expose_env": tuple(found["expose_env"]),
    }
    return PlannedStep(**{**found, **rest, "batches": batches})


def _read_job(step: int, found: list[Any]) -> PlannedJob:
    # Plans that were stored before policies end after expose_env.
    attempts, place, variables, secrets, expose_env, *rest = found
    return PlannedJob(tuple(attempts), step, PlannedTarget(*place), variables, secrets, tuple(expose_env), *rest)
