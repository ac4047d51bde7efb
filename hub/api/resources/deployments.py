"""`/deployments`: to deploy, with `switch` to go back, with `preview` to see what would change in files.

With `plan_only` the plan comes back and nothing is done.
"""

from flask import Response, json
from pydantic import ConfigDict, Field, JsonValue

from hub.api import reading
from hub.api.query_string import ListQuery, Word
from hub.api.route import Call, Resource, answer_of, ask
from hub.errors import Invalid
from hub.operations.body import Ref, Reply
from hub.operations.catalogue import CATALOGUE
from hub.operations.deploying import DeploymentBody, RollbackBody
from hub.operations.operation import validated
from hub.operations.planning import deployment_plan, rollback_plan
from hub.permissions import Permission
from hub.queries import tasks as queries
from hub.queries.listing import Page
from hub.queries.tasks import DeploymentView

RESOURCE = Resource("deployments")
_FLAGS = ("plan_only", "switch", "preview")


class DeploymentsQuery(ListQuery):
    project: Word = ""
    environment: Word = ""


class DeploymentRequest(RollbackBody):
    """At most one of `switch` and `preview`; `plan_only` goes with all but `preview`."""

    release: Ref | None = Field(default=None, description="May be left out with switch: the one that was there before.")
    switch: bool = Field(default=False, description="Go back to what lies on the targets; no package is sent.")
    preview: bool = Field(default=False, description="A task that says what would change in files; nothing does.")
    plan_only: bool = False


class PlanOrDeployment(Reply):
    """201: `id` and `task`, and `release` with `switch`; of a `preview` only `task`. 200, with `plan_only`: `plan`."""

    model_config = ConfigDict(extra="allow")

    id: str | None = None
    task: str | None = None
    release: str | None = None
    plan: JsonValue = None


@RESOURCE.get(
    "/deployments",
    Page[DeploymentView],
    Permission.TASK_VIEW,
    "Deployments, newest first",
    query=DeploymentsQuery,
)
def list_all(call: Call) -> Page[DeploymentView]:
    return queries.deployments(
        call.caller, call.query.slice, project=call.query.project, environment=call.query.environment
    )


@RESOURCE.get("/deployments/<deployment>", DeploymentView, Permission.TASK_VIEW, "One deployment")
def show(call: Call, deployment: str) -> DeploymentView:
    return queries.deployment(call.caller, deployment)


@RESOURCE.post(
    "/deployments",
    PlanOrDeployment,
    Permission.DEPLOYMENT_CREATE,
    "Deploy a release to an environment",
    status=201,
    body=DeploymentRequest,
)
def deploy(call: Call) -> Response:
    wanted = reading.json_body(call.parts.limits.json_bytes)
    request = validated(DeploymentRequest, wanted)
    if request.preview and (request.switch or request.plan_only):
        raise Invalid("expected preview alone, without switch and plan_only", field="preview")
    plain = {key: value for key, value in wanted.items() if key not in _FLAGS}
    if request.plan_only:
        make = rollback_plan if request.switch else deployment_plan
        return Response(
            json.dumps({"plan": make(call.parts, call.caller, plain)}), 200, content_type="application/json"
        )
    if request.switch:
        return answer_of(ask(call.parts, CATALOGUE["deployment.rollback"], plain), "/deployments")
    validated(DeploymentBody, plain)
    if request.preview:
        return answer_of(ask(call.parts, CATALOGUE["deployment.preview"], plain), "/tasks")
    return answer_of(ask(call.parts, CATALOGUE["deployment.create"], plain), "/deployments")
