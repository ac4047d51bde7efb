"""The catalogue of step kinds: a file each, which offers STEP."""

from __future__ import annotations

from typing import Any, Dict

from runner.catalogue import entries, entry
from runner.pipeline import Step


def find_step(kind: str) -> Step:
    """The step of a kind such as `deploy-package`; raises StepUnknown."""
    step: Step = entry("steps", kind, "step kind").STEP
    return step


def step_kinds() -> Dict[str, Any]:
    """The document step_kinds.json: what the hub validates, the portal draws and the API documents."""
    return {"format": 1, "kinds": [module.STEP.kind.to_json() for module in entries("steps")]}
