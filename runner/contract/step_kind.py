"""What a kind of step is called and which properties it takes; hub, portal and API read it as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Mapping, Tuple

from runner.contract.errors import JobMalformed
from runner.contract.job import INSTALL

PROPERTY_TYPES = ("text", "script", "boolean", "integer", "list", "choice")


@dataclass(frozen=True)
class Property:
    """One property of a step kind.

    `type` is one of PROPERTY_TYPES: `script` is a text of several lines, `list` a list of texts,
    `choice` one of `choices`. Any text may hold `#{…}`, which the runner expands. A whole
    number is from `least` to `most`.
    """

    name: str
    type: str
    help: str
    default: Any = None
    required: bool = False
    choices: Tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None

    def fault(self, value: object) -> str:
        """What is wrong with a value, in words; empty where nothing is."""
        if self.type == "boolean":
            return "" if isinstance(value, bool) else "expected true or false"
        if self.type == "integer":
            return self._fault_of_number(value)
        if self.type == "list":
            fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
            return "" if fits else "expected a list of texts (a number becomes one in quotes)"
        if not isinstance(value, str):
            return "expected a text"
        if self.type == "choice" and value not in self.choices:
            return f"expected one of {', '.join(self.choices)}"
        return ""

    def _fault_of_number(self, value: object) -> str:
        if not isinstance(value, int) or isinstance(value, bool):
            return "expected a whole number"
        if self.least is not None and value < self.least:
            return f"expected {self.least} or more"
        if self.most is not None and value > self.most:
            return f"expected {self.most} or less"
        return ""


@dataclass(frozen=True)
class StepKind:
    """A kind of step as data; what it does stands in `runner/steps/<kind>.py`.

    A kind that needs a package has one; one that may have a package is told by its properties what it does without.
    `modes` are those of a job in which its step has something to do; the step fills them in.
    """

    name: str
    title: str
    description: str
    properties: Tuple[Property, ...]
    needs_package: bool
    may_have_package: bool = False
    modes: Tuple[str, ...] = (INSTALL,)

    def check(self, properties: Mapping[str, Any]) -> Dict[str, Any]:
        """The properties with defaults filled in.

        Raises:
            JobMalformed: unknown, missing or of the wrong type; names `properties.<name>`.
        """
        known = {p.name: p for p in self.properties}
        for name in properties:
            if name not in known:
                raise JobMalformed(
                    f"properties.{name}", f"{self.name} takes no such property; it takes {_names(known)}"
                )
        found: Dict[str, Any] = {}
        for prop in self.properties:
            value = properties.get(prop.name)
            if value is None and prop.required:
                raise JobMalformed(f"properties.{prop.name}", f"{self.name} needs it: {prop.help}")
            fault = prop.fault(value) if value is not None else ""
            if fault:
                raise JobMalformed(f"properties.{prop.name}", fault)
            found[prop.name] = prop.default if value is None else value
        return found

    def to_json(self) -> Dict[str, Any]:
        properties = [{**asdict(prop), "choices": list(prop.choices)} for prop in self.properties]
        return {**asdict(self), "properties": properties, "modes": list(self.modes)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StepKind:
        """The kind in one item of step_kinds.json, which our own build wrote."""
        rest = {key: item for key, item in value.items() if key not in ("properties", "modes")}
        properties = (Property(**{**item, "choices": tuple(item["choices"])}) for item in value["properties"])
        return cls(properties=tuple(properties), modes=tuple(value["modes"]), **rest)


def read_step_kinds(document: Mapping[str, Any]) -> Dict[str, StepKind]:
    """Kinds by name from the document that `runner.build` writes: `{"format": 1, "kinds": […]}`."""
    kinds: List[StepKind] = [StepKind.from_json(item) for item in document["kinds"]]
    return {kind.name: kind for kind in kinds}


def _names(known: Mapping[str, Property]) -> str:
    return ", ".join(sorted(known)) or "none"
