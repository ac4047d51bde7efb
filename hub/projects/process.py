"""The steps of a project: how people write them, and the one normal form that is stored, frozen and planned from.

In the project file `script`, `shell` and `timeout: 5m` may stand beside the step's name; in the normal form the first
two are properties of the step's kind and the last is `timeout_s`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from hub.operations.body import Body, Line, Name, Ref, RefList, RoleList
from runner.contract.errors import JobMalformed
from runner.contract.step_kind import StepKind

StepJson = dict[str, Any]

_PERCENT = re.compile(r"([1-9][0-9]?|100)%")
_DURATION = re.compile(r"(?:([0-9]{1,3})h)?(?:([0-9]{1,4})m)?(?:([0-9]{1,6})s)?")
MAX_TIMEOUT_S = 24 * 3600
PLAIN_PROPERTIES = ("script", "shell")


class ProcessMalformed(ValueError):
    """A step that no kind would take; `field` is its path, e.g. `0.properties.install_to`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class StepBody(Body):
    """One step as people write it."""

    name: Name
    kind: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    on: Literal["targets", "hub"] = "targets"
    roles: RoleList = Field(default_factory=list)
    environments: RefList = Field(default_factory=list, description="Only there; everywhere when empty.")
    rolling: int | str | None = Field(default=None, description="How many targets at once: a number or a percentage.")
    package: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    properties: dict[str, JsonValue] = Field(default_factory=dict)
    script: str | None = None
    shell: str | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    timeout: int | str | None = Field(default=None, description="Seconds, or a text like 5m or 1h30m.")
    timeout_s: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_S)] | None = None
    when: Literal["success", "failure", "always"] = "success"
    on_unknown: Literal["fail", "retry"] = "fail"
    isolation: Line = ""

    @field_validator("rolling")
    @classmethod
    def _some_at_once(cls, value: int | str | None) -> int | str | None:
        fits = value is None or (_PERCENT.fullmatch(value) if isinstance(value, str) else 1 <= value <= 1000)
        if not fits:
            raise ValueError("expected a number from 1 to 1000 or a percentage from 1% to 100%")
        return value

    @field_validator("timeout")
    @classmethod
    def _a_span(cls, value: int | str | None) -> int | None:
        if value is None:
            return None
        seconds = duration_s(value) if isinstance(value, str) else value
        if not 1 <= seconds <= MAX_TIMEOUT_S:
            raise ValueError("expected seconds, or a text like 5m or 1h30m, of at most 24 hours")
        return seconds

    @model_validator(mode="after")
    def _one_timeout(self) -> "StepBody":
        if self.timeout is not None and self.timeout_s is not None:
            raise ValueError("expected timeout or timeout_s, not both")
        return self


ProcessBody = Annotated[list[StepBody], Field(max_length=100)]


def duration_s(text: str) -> int:
    """Seconds of a text like `5m`, `1h30m` or `90s`; 0 where it is none."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return 0
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def normal_form(
    steps: list[StepBody], kinds: Mapping[str, StepKind], environment_id: Callable[[Ref], str]
) -> list[StepJson]:
    """Check the steps against their kinds and write them in the form that is stored.

    Args:
        steps: In order.
        kinds: By name, as the runner announces them.
        environment_id: The id behind a name or id; raises where there is none.

    Raises:
        ProcessMalformed: names the step's field and what was expected.
    """
    _check_unique_names(steps)
    return [_normal_step(index, step, kinds, environment_id) for index, step in enumerate(steps)]


def as_written(step: StepJson, environment_name: Callable[[str], str]) -> StepJson:
    """A stored step in the project file's words: only what differs from the default."""
    properties = dict(step["properties"])
    plain = {name: properties.pop(name) for name in PLAIN_PROPERTIES if properties.get(name) is not None}
    written = {
        "on": step["on"] if step["on"] != "targets" else None,
        "roles": step["roles"] or None,
        "environments": [environment_name(found) for found in step["environments"]] or None,
        "rolling": step["rolling"],
        "package": step["package"],
        "properties": {key: value for key, value in properties.items() if value not in (None, [], "")} or None,
        **plain,
        "retries": step["retries"] or None,
        "timeout": f"{step['timeout_s']}s" if step["timeout_s"] else None,
        "when": step["when"] if step["when"] != "success" else None,
        "on_unknown": step["on_unknown"] if step["on_unknown"] != "fail" else None,
        "isolation": step["isolation"] or None,
    }
    named = {"name": step["name"], "kind": step["kind"]}
    return named | {key: value for key, value in written.items() if value is not None}


def packages_of(steps: list[StepJson]) -> list[str]:
    """Names of the packages that a process needs, each once, in the order of the steps."""
    return list(dict.fromkeys(step["package"] for step in steps if step["package"]))


def _check_unique_names(steps: list[StepBody]) -> None:
    seen: set[str] = set()
    for index, step in enumerate(steps):
        if step.name.casefold() in seen:
            raise ProcessMalformed(f"{index}.name", f"two steps are called {step.name!r}; expected each name once")
        seen.add(step.name.casefold())


def _normal_step(
    index: int, step: StepBody, kinds: Mapping[str, StepKind], environment_id: Callable[[Ref], str]
) -> StepJson:
    kind = kinds.get(step.kind)
    if kind is None:
        raise ProcessMalformed(f"{index}.kind", f"no step kind {step.kind!r}; there are {', '.join(sorted(kinds))}")
    # An empty set of targets is an error and never "all of them".
    if step.on == "targets" and not step.roles:
        raise ProcessMalformed(f"{index}.roles", f"step {step.name!r} runs on targets and needs a role of theirs")
    if kind.needs_package and not step.package:
        raise ProcessMalformed(f"{index}.package", f"step {step.name!r} is a {kind.name} and needs a package")
    if step.package and not (kind.needs_package or kind.may_have_package):
        raise ProcessMalformed(f"{index}.package", f"a {kind.name} takes no package")
    return {
        "name": step.name,
        "kind": step.kind,
        "on": step.on,
        "roles": sorted(set(step.roles)),
        "environments": [environment_id(ref) for ref in step.environments],
        "rolling": step.rolling,
        "package": step.package,
        "properties": _properties(index, step, kind),
        "retries": step.retries,
        "timeout_s": step.timeout_s if step.timeout_s is not None else step.timeout,
        "when": step.when,
        "on_unknown": step.on_unknown,
        "isolation": step.isolation,
    }


def _properties(index: int, step: StepBody, kind: StepKind) -> StepJson:
    given = dict(step.properties)
    for name in PLAIN_PROPERTIES:
        beside = getattr(step, name)
        if beside is None:
            continue
        if name in given:
            raise ProcessMalformed(f"{index}.{name}", f"expected {name} once: beside the step's name or in properties")
        given[name] = beside
    try:
        return kind.check(given)
    except JobMalformed as error:
        raise ProcessMalformed(f"{index}.{error.field}", str(error).partition(": ")[2]) from error
