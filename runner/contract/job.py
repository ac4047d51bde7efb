"""The job: what the hub's planner decides and the runner does, as dataclasses and as strict JSON both ways.

Variables arrive resolved by scope but not expanded; values of secrets never stand here (they come by pipe).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Tuple

from runner.contract.errors import JobMalformed
from runner.contract.fields import Fields

LIMIT_VARIABLES = 10_000
LIMIT_VALUE_CHARS = 1_048_576
GRACE_S_MAX = 3_600
# What a job does with its step: deploy it, go back to what an earlier deployment left, or show what would change.
INSTALL, SWITCH, PREVIEW = MODES = ("install", "switch", "preview")


@dataclass(frozen=True)
class StepRef:
    name: str
    kind: str


@dataclass(frozen=True)
class Named:
    """A thing of the hub: its id and the name that people gave it."""

    id: str
    name: str


@dataclass(frozen=True)
class ReleaseRef:
    id: str
    version: str


@dataclass(frozen=True)
class JobPackage:
    """The package of a step; `extension` is as assembled on the target (`tar.gz`, `zip`, …)."""

    id: str
    version: str
    extension: str
    manifest_id: str
    sha256: str


@dataclass(frozen=True)
class Job:
    """One step on one target, once.

    `release` and `project` hold empty texts for work without a release (the script console).
    `literals` are values that came from targets (outputs of earlier steps): offered like variables and byte-identical,
    never expanded; a literal wins over a variable of its name.
    `isolation` names the lock that only one job on a machine may hold; empty means none.
    `endpoint` says what a hub-run job acts on (account, region, properties); empty on a machine with its own spoke.
    `secret_names` says which values come by pipe; `expose_env` which variables the script finds in its environment.
    `mode` is one of MODES; `package` names what a switch goes back to, whose file does not come with the job.
    """

    task: str
    step: StepRef
    attempt: int
    target: Named
    environment: Named
    project: Named
    release: ReleaseRef
    properties: Dict[str, Any] = field(default_factory=dict)
    variables: Dict[str, str] = field(default_factory=dict)
    literals: Dict[str, str] = field(default_factory=dict)
    secret_names: Tuple[str, ...] = ()
    expose_env: Tuple[str, ...] = ()
    package: JobPackage | None = None
    isolation: str = ""
    grace_s: int = 10
    tenant: str = ""
    endpoint: Dict[str, Any] = field(default_factory=dict)
    mode: str = INSTALL

    def to_json(self) -> Dict[str, Any]:
        found = asdict(self)
        found["secret_names"] = list(self.secret_names)
        found["expose_env"] = list(self.expose_env)
        if not self.endpoint:
            del found["endpoint"]
        if self.mode == INSTALL:
            del found["mode"]
        return found

    @classmethod
    def from_json(cls, value: object) -> Job:
        """The job in a decoded JSON object.

        Raises:
            JobMalformed: a field is missing, unknown, of the wrong type or over its limit.
        """
        fields = Fields(value)
        job = cls(
            task=fields.text("task"),
            step=_step(fields.object("step")),
            attempt=fields.number("attempt", 1, 1_000_000),
            target=_named(fields.object("target")),
            environment=_named(fields.object("environment")),
            project=_named(fields.object("project")),
            release=_release(fields.object("release")),
            properties=fields.json_object("properties"),
            variables=fields.text_map("variables"),
            literals=fields.text_map("literals", absent=True),
            secret_names=fields.texts("secret_names"),
            expose_env=fields.texts("expose_env"),
            package=_package(fields.optional("package")),
            isolation=fields.text("isolation"),
            grace_s=fields.number("grace_s", 0, GRACE_S_MAX),
            tenant=fields.text("tenant"),
            endpoint=fields.json_object("endpoint", absent=True),
            mode=fields.text("mode", 16) if "mode" in fields else INSTALL,
        )
        fields.finish()
        _within_limits(job)
        return job


def _step(fields: Fields) -> StepRef:
    step = StepRef(name=fields.text("name"), kind=fields.text("kind", 64))
    fields.finish()
    return step


def _named(fields: Fields) -> Named:
    named = Named(id=fields.text("id"), name=fields.text("name"))
    fields.finish()
    return named


def _release(fields: Fields) -> ReleaseRef:
    release = ReleaseRef(id=fields.text("id"), version=fields.text("version"))
    fields.finish()
    return release


def _package(fields: Fields | None) -> JobPackage | None:
    if fields is None:
        return None
    package = JobPackage(
        id=fields.text("id", 200),
        version=fields.text("version", 200),
        extension=fields.text("extension", 16),
        manifest_id=fields.text("manifest_id", 64),
        sha256=fields.text("sha256", 64),
    )
    fields.finish()
    return package


def _within_limits(job: Job) -> None:
    if job.mode not in MODES:
        raise JobMalformed("mode", f"expected one of {', '.join(MODES)}")
    if len(job.variables) > LIMIT_VARIABLES:
        raise JobMalformed("variables", f"expected at most {LIMIT_VARIABLES} variables")
    for name, value in (*job.variables.items(), *job.literals.items()):
        if len(value) > LIMIT_VALUE_CHARS:
            raise JobMalformed(f"variables.{name}", f"expected at most {LIMIT_VALUE_CHARS} characters")
