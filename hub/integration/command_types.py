"""What may be asked over AMQP: each command with its body, and the operation that it leads to, as REST does. PURE."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hub.errors import NotFound
from hub.integration.event_types import TYPE_PREFIX, Told
from hub.operations.body import Body, Ref
from hub.operations.deploying import DeploymentBody
from hub.storage.models import Deployment
from wire.integration_topology import CANCEL_KEY, REQUEST_KEY

JsonObject = dict[str, Any]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]


class CommandEnvelope(BaseModel):
    """A CloudEvent that asks for something; attributes that we do not know are others' business.

    `idempotencykey`: the same key of the same person is answered alike, and acts once. `expirytime`: it is not begun
    after that.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    specversion: Literal["1.0"]
    id: _Word
    source: _Word
    type: _Word
    idempotencykey: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[!-~]+$")]
    expirytime: Annotated[str, StringConstraints(max_length=40)] | None = Field(
        default=None, description="RFC 3339, with an offset or Z.", json_schema_extra={"format": "date-time"}
    )
    data: JsonObject


class CancelDeployment(Body):
    """`deployment`: the id that the request was answered with."""

    deployment: Ref


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    EXPIRED = "expired"


class CommandAnswer(Told):
    """What became of a command. `duplicate`: the key was used before, and this is the first answer again."""

    command: str = Field(description="The id of the CloudEvent that asked.")
    outcome: Outcome
    duplicate: bool
    deployment: str | None = None
    task: str | None = None
    code: str | None = Field(default=None, description="Stable; compare this.")
    detail: str | None = Field(default=None, description="For people.")
    field: str | None = Field(default=None, description="The dotted path of the field at fault.")


ANSWER_NAME = "command.answered.v1"
ANSWER_TYPE = f"{TYPE_PREFIX}.{ANSWER_NAME}"


@dataclass(frozen=True, slots=True)
class CommandType:
    """`request`: the operation's body out of the command's data."""

    name: str
    key: str
    body: type[Body]
    operation: str
    request: Callable[[JsonObject], JsonObject]
    summary: str

    @property
    def type(self) -> str:
        return f"{TYPE_PREFIX}.{self.name}"


def _cancelled(data: JsonObject) -> JsonObject:
    row = Deployment.get_or_none(Deployment.id == data["deployment"])
    if row is None:
        raise NotFound(f"no deployment {data['deployment']!r}", field="deployment")
    return {"task": row.task}


COMMAND_TYPES = (
    CommandType(
        "deployment.request.v1",
        REQUEST_KEY,
        DeploymentBody,
        "deployment.create",
        lambda data: data,
        "Deploy a release to an environment",
    ),
    CommandType(
        "deployment.cancel.v1",
        CANCEL_KEY,
        CancelDeployment,
        "task.cancel",
        _cancelled,
        "Cancel a deployment",
    ),
)

BY_TYPE = {command.type: command for command in COMMAND_TYPES}
