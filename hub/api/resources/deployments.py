"""`/deployments`: with `plan_only` the plan comes back and nothing is done."""

from flask import Response, json
from pydantic import ConfigDict, JsonValue

from hub.api import reading
from hub.api.query_string import ListQuery, Word
from hub.api.route import Call, Resource, answer_of, ask
from hub.operations.body import Reply
from hub.operations.catalogue import CATALOGUE
from hub.operations.operation import validated
from hub.operations.previewing import deployment_plan
from hub.operations.work import DeploymentBody
from hub.permissions import Permission
from hub.queries import tasks as queries
from hub.queries.listing import Page
from hub.queries.tasks import DeploymentView

RESOURCE = Resource("deployments")
_DEPLOY = CATALOGUE["deployment.create"]


class DeploymentsQuery(ListQuery):
    project: Word = ""
    environment: Word = ""


class DeploymentRequest(DeploymentBody):
    plan_only: bool = False


class PlanOrDeployment(Reply):
    """201: `id` and `task`. 200, with `plan_only`: `plan`."""

    model_config = ConfigDict(extra="allow")

    id: str | None = None
    task: str | None = None
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
    plain = {key: value for key, value in wanted.items() if key != "plan_only"}
    if not request.plan_only:
        return answer_of(ask(call.parts, _DEPLOY, plain), "/deployments")
    plan = deployment_plan(call.parts, call.caller, plain)
    return Response(json.dumps({"plan": plan}), 200, content_type="application/json")
