"""A project's concurrency key: two tasks with one key never run together, whatever project they are of.

Without one it is the project and the environment. With `database-#{Manyarm.Environment.Name}` all projects that say so
take turns in each environment.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from hub.orchestrator.admission import default_key, named_key
from hub.storage.models import Environment, Project

PROJECT, ENVIRONMENT = "Manyarm.Project.Name", "Manyarm.Environment.Name"
TASKS_MAX = 10_000

_PLACE = re.compile(r"#\{\s*([^{}]*?)\s*\}")


def _known(text: str) -> str:
    left = _PLACE.sub(lambda found: "" if found[1] in (PROJECT, ENVIRONMENT) else found[0], text)
    if "#{" in left:
        raise ValueError(f"expected no variable but #{{{PROJECT}}} and #{{{ENVIRONMENT}}}")
    # One project in one environment is one place: no key may let two deployments be there at once.
    return text


Concurrency = Annotated[
    str,
    StringConstraints(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", strip_whitespace=True),
    AfterValidator(_known),
]
TasksAtOnce = Annotated[int, Field(ge=1, le=TASKS_MAX)]


def key_of(project: Project, environment: Environment) -> str:
    """The key of a deployment of the project to the environment."""
    if not project.concurrency:
        return default_key(project.id, environment.id)
    names = {PROJECT: project.name, ENVIRONMENT: environment.name}
    return named_key(_PLACE.sub(lambda found: str(names.get(found[1], found[0])), project.concurrency))
