"""What this very step has deployed to this very place before, out of the machine's journal, and what it adds to it."""

from __future__ import annotations

import time
from typing import Dict, List

from runner.deployment import RunningDeployment
from runner.journal import Entry, entries, record

BEGUN, SUCCEEDED, FAILED = "begun", "succeeded", "failed"


def note(deployment: RunningDeployment, state: str) -> None:
    """Write how far the deployment is."""
    job, package = deployment.job, deployment.package
    record(
        deployment.home,
        {
            "at": time.time_ns() // 1_000_000,
            "job": deployment.job_file.cid,
            "state": state,
            "succeeded": state == SUCCEEDED,
            "mode": job.mode,
            "task": job.task,
            "project": job.project.name,
            "release": job.release.version,
            "environment": job.environment.name,
            "package": package.id,
            "version": package.version,
            "sha256": package.sha256,
            "variables": deployment.digest,
            "asked_for_release": deployment.variables.asked_for_release,
            "path": str(deployment.release or ""),
            "made_by": deployment.made_by,
            "copied_to": str(deployment.installed or ""),
            "current_before": deployment.previous_release,
            **_place(deployment),
        },
    )


def history(deployment: RunningDeployment) -> List[Entry]:
    """Earlier entries of the same place, oldest first; those of before the journal knew places are of none."""
    place = _place(deployment).items()
    found = [entry for entry in entries(deployment.home) if all(entry.get(name) == value for name, value in place)]
    return [entry for entry in found if entry["job"] != deployment.job_file.cid]


def _place(deployment: RunningDeployment) -> Dict[str, str]:
    """What a deployment follows on: the same step of a project for the same target, deploying to the same folder."""
    job = deployment.job
    return {
        "project_id": job.project.id,
        "environment_id": job.environment.id,
        "target_id": job.target.id,
        "tenant": job.tenant,
        "step": job.step.name,
        "root": str(deployment.root or ""),
    }
