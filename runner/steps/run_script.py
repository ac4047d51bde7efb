"""run-script: one script that somebody typed."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.run_typed_script import RunTypedScript
from runner.languages import script_properties
from runner.pipeline import Step

STEP = Step(
    kind=StepKind(
        name="run-script",
        title="Run a script",
        description="Runs a script in an empty directory of its own; it asks for variables by name.",
        needs_package=False,
        properties=(
            *script_properties(),
            Property("script", "script", help="What to run; `get_variable NAME` gives a value.", required=True),
        ),
    ),
    conventions=(RunTypedScript(),),
)
