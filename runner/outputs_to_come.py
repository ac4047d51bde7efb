"""What a step would take from steps before it: in a dry run they have said nothing yet."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Dict, Iterator, List

from runner.contract.errors import ContractError
from runner.contract.template import references
from runner.deployment import RunningDeployment
from runner.job_variables import OUTPUT_NAME


def waits_for_outputs(deployment: RunningDeployment) -> bool:
    """Whether the step cannot say what it would do before others ran; then that is said, and what it waits for."""
    names = _outputs_to_come(deployment)
    if names:
        deployment.say(f"what this step does is known only in a deployment, which gives {', '.join(names)}")
    return bool(names)


def _outputs_to_come(deployment: RunningDeployment) -> List[str]:
    """The outputs that the step's properties name, themselves or by variables, and that nobody has given yet."""
    written = {name.casefold(): text for name, text in deployment.job.variables.items()}
    named: Dict[str, str] = {}
    waiting = list(_texts(deployment.properties))
    while waiting:
        text = waiting.pop()
        # A text that is not well formed is told where it is expanded.
        with suppress(ContractError):
            for name in references(text):
                if name.casefold() not in named:
                    named[name.casefold()] = name
                    waiting.append(written.get(name.casefold(), ""))
    return [name for name in named.values() if OUTPUT_NAME.match(name) and deployment.variables.value(name) is None]


def _texts(properties: Dict[str, Any]) -> Iterator[str]:
    for value in properties.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from value
