"""Write the journal entry of a deployment, whether it went well or not."""

from __future__ import annotations

import time
from pathlib import Path

from runner.deployment import RunningDeployment
from runner.journal import record


class RecordDeployment:
    def finish(self, deployment: RunningDeployment, *, succeeded: bool) -> None:
        job = deployment.job
        package = job.package
        record(
            Path(deployment.job_file.home),
            {
                "at": time.time_ns() // 1_000_000,
                "job": deployment.job_file.cid,
                "task": job.task,
                "project": job.project.name,
                "release": job.release.version,
                "environment": job.environment.name,
                "tenant": job.tenant,
                "step": job.step.name,
                "package": package.id if package else "",
                "version": package.version if package else "",
                "path": str(deployment.release or ""),
                "succeeded": succeeded,
            },
        )
