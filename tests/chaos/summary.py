"""What a soak is worth, as words for people and as JSON for machines."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.evidence import Case
from tests.chaos.oracle import Kind, findings, unknown_jobs
from tests.chaos.soak import Soak


def summary_of(soak: Soak, case: Case, seconds: float) -> dict[str, Any]:
    found = findings(case)
    kinds = Counter(one.kind for one in found)
    ends = Counter(job.hub.state for job in case.jobs if job.hub is not None)
    tasks = Counter(request.state for request in case.requests)
    return {
        "seed": soak.plan.seed,
        "seconds": round(seconds),
        "targets": {"real": list(soak.fleet.kinds), "light": len(soak.fleet.names) - len(soak.fleet.kinds)},
        "requests": len(case.requests),
        "asked again": sum(asked.tries - 1 for asked in soak.asked),
        "cancels": sum(asked.cancelled for asked in soak.asked),
        "tasks": dict(tasks),
        "jobs": dict(ends),
        "faults": dict(sorted(soak.faults.items())),
        "lost": kinds[Kind.LOST],
        "doubled": kinds[Kind.DOUBLED],
        "findings": [str(one) for one in found],
        "unknown": [
            {"job": job.job, "target": job.target, "hub": job.hub.message, "why": job.explained}
            for job in unknown_jobs(case)
            if job.hub is not None
        ],
        "residue": list(case.residue),
        "memory": [asdict(growth) for growth in soak.memory.growths()],
        "ok": not found,
    }


def write(summary: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=1) + "\n")


def words(summary: dict[str, Any]) -> str:
    """For a terminal."""
    faults = sum(summary["faults"].values())
    real, light = summary["targets"]["real"], summary["targets"]["light"]
    lines = [
        f"seed {summary['seed']}, {summary['seconds']} s, {', '.join(real)} and {light} light targets",
        f"runs      {summary['requests']} asked for ({summary['asked again']} times again), {_counts(summary['tasks'])}",
        f"jobs      {sum(summary['jobs'].values())}: {_counts(summary['jobs'])}",
        f"faults    {faults}: {_counts(summary['faults'])}; {summary['cancels']} cancels",
        f"lost      {summary['lost']}",
        f"doubled   {summary['doubled']}",
        f"unknown   {len(summary['unknown'])}",
        *(f"          {one['job'][:8]} on {one['target']}: {one['hub']} <- {one['why']}" for one in summary["unknown"]),
        f"residue   {len(summary['residue'])}",
        *(f"finding   {one}" for one in summary["findings"]),
        "memory    MB at first, at last, at most; kB a minute in its longest life",
    ]
    for one in summary["memory"]:
        sizes = "  ".join(f"{one[name] / 1e6:7.1f}" for name in ("first_bytes", "last_bytes", "most_bytes"))
        growth = "too short to say" if one["slope"] is None else f"{one['slope'] / 1e3:+.1f}"
        lines.append(f"          {one['name']:12} {sizes}   {growth}  ({one['lived_s']:.0f} s)")
    lines.append("All agree." if summary["ok"] else f"{len(summary['findings'])} findings.")
    return "\n".join(lines)


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name or 'without an answer'}" for name, count in found.items()) or "none"
