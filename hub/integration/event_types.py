"""What others are told of: each type of event with its data, closed and without free text. PURE.

People and machines are named by their ids alone, which mean something only to whoever may look them up. A type is
never changed but by a further field: what means something else is another type, `….v2`.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from hub.states import Health, TaskState

TYPE_PREFIX = "org.manyarm"


class Told(BaseModel):
    """The data of an event; only what it names ever leaves the hub."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Named(Told):
    """A thing that people have named; the name is the one it had then."""

    id: str
    name: str = Field(description="As it was when the event was made; empty where the thing was gone already.")


class ActorKind(StrEnum):
    USER = "user"
    SPOKE = "spoke"
    HUB = "hub"


class Actor(Told):
    """Who did it: a person or a spoke by its id, or the hub by itself."""

    kind: ActorKind
    id: str | None


class Data(Told):
    """What every event says."""

    actor: Actor


class DeploymentData(Data):
    """A release on its way into an environment."""

    deployment: str
    task: str
    project: Named
    environment: Named
    release: str = Field(description="The version.")
    state: TaskState
    rollback: bool = Field(description="Whether it goes back to a release that was there before.")


class ReleaseData(Data):
    release: str
    project: Named
    version: str


class ProjectData(Data):
    project: Named


class EnvironmentData(Data):
    environment: Named


class PackageData(Data):
    package: str
    version: str


class TargetData(Data):
    target: str


class TargetHealthData(Data):
    target: str
    before: Health
    health: Health


class SpokeData(Data):
    spoke: str


class RunData(Data):
    """A script, a check or a preview."""

    task: str
    kind: str
    state: TaskState


@dataclass(frozen=True, slots=True)
class EventType:
    """`entity` and `verb` are the last two words of the routing key, the verb in the past tense."""

    entity: str
    verb: str
    data: type[Data]
    summary: str

    @property
    def name(self) -> str:
        return f"{self.entity}.{self.verb}.v1"

    @property
    def type(self) -> str:
        return f"{TYPE_PREFIX}.{self.name}"


EVENT_TYPES: tuple[EventType, ...] = (
    EventType("deployment", "requested", DeploymentData, "Somebody asked for a deployment; it is planned and stored"),
    EventType("deployment", "cancel-requested", DeploymentData, "Somebody asked to cancel a deployment"),
    EventType("deployment", "succeeded", DeploymentData, "A deployment ended well on every target"),
    EventType("deployment", "failed", DeploymentData, "A deployment failed"),
    EventType("deployment", "cancelled", DeploymentData, "A deployment was cancelled"),
    EventType("deployment", "unknown", DeploymentData, "What became of a deployment cannot be known"),
    EventType("run", "requested", RunData, "Somebody asked for a script on targets"),
    EventType("run", "cancel-requested", RunData, "Somebody asked to cancel a script"),
    EventType("run", "succeeded", RunData, "A script ended well on every target"),
    EventType("run", "failed", RunData, "A script failed"),
    EventType("run", "cancelled", RunData, "A script was cancelled"),
    EventType("run", "unknown", RunData, "What became of a script cannot be known"),
    EventType("release", "created", ReleaseData, "A project was frozen under a version"),
    EventType("release", "deleted", ReleaseData, "A release was removed"),
    EventType("project", "created", ProjectData, "A project was added"),
    EventType("project", "changed", ProjectData, "A project's settings were changed, its name perhaps"),
    EventType("project", "deleted", ProjectData, "A project was removed"),
    EventType("process", "changed", ProjectData, "A project's process was replaced"),
    EventType("variables", "changed", ProjectData, "Values of a project were changed; which ones is not said"),
    EventType("environment", "created", EnvironmentData, "An environment was added"),
    EventType("environment", "changed", EnvironmentData, "An environment was changed, its name perhaps"),
    EventType("environment", "deleted", EnvironmentData, "An environment was removed"),
    EventType("package", "pushed", PackageData, "A version of a package came in"),
    EventType("package", "deleted", PackageData, "A version of a package was removed"),
    EventType("target", "created", TargetData, "A target was added"),
    EventType("target", "changed", TargetData, "A target was changed"),
    EventType("target", "enabled", TargetData, "Plans take a target again"),
    EventType("target", "disabled", TargetData, "Plans leave a target out"),
    EventType("target", "deleted", TargetData, "A target was removed"),
    EventType("target", "health-changed", TargetHealthData, "A check found a target in another health"),
    EventType("spoke", "enrolled", SpokeData, "A spoke asks to be trusted"),
    EventType("spoke", "approved", SpokeData, "A spoke is trusted"),
    EventType("spoke", "revoked", SpokeData, "A spoke is not trusted any more"),
)

BY_NAME = {event_type.name: event_type for event_type in EVENT_TYPES}
