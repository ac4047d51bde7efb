"""`/machine-policies`: how targets are looked at, and what deployments do with those that are away."""

from hub.api.query_string import ListQuery
from hub.api.route import Call, Resource
from hub.permissions import Permission
from hub.queries import machine_policies as queries
from hub.queries.listing import Page
from hub.queries.machine_policies import MachinePolicyView

RESOURCE = Resource("machine-policies")


@RESOURCE.get(
    "/machine-policies", Page[MachinePolicyView], Permission.TARGET_VIEW, "All machine policies", query=ListQuery
)
def list_all(call: Call) -> Page[MachinePolicyView]:
    return queries.policies(call.query.slice)


@RESOURCE.get("/machine-policies/<machine_policy>", MachinePolicyView, Permission.TARGET_VIEW, "One machine policy")
def show(_: Call, machine_policy: str) -> MachinePolicyView:
    return queries.policy(machine_policy)


RESOURCE.change("POST", "/machine-policies", "machine-policy.create")
RESOURCE.change("PUT", "/machine-policies/<machine_policy>", "machine-policy.update")
RESOURCE.change("DELETE", "/machine-policies/<machine_policy>", "machine-policy.delete")
