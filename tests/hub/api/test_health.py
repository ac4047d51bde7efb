"""Health and machine policies over the API: what is shown of a target, who may say what, and what `apply` makes."""

import pytest

from hub.infrastructure import machine_policies
from hub.infrastructure.targets import set_health
from hub.queries.listing import time_text
from hub.states import Health
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, Target, now_ms
from tests.fakes.api_hub import KINDS, running_api


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        running.post("/environments", {"name": "Production"})
        running.add_runner()
        for number in range(1, 4):
            running.add_target(f"web-{number}", environments=("Production",))
        yield running


def sick(name, health, reason):
    with connection(), write_tx():
        set_health(Target.get(Target.name == name), health, reason, now_ms())


def apply(api, *documents, plan_only=False):
    return api.post("/apply", {"documents": list(documents), "plan_only": plan_only})


def test_a_disabled_target_is_shown_as_such_with_its_reason_and_since_when(api):
    sick("web-1", Health.WARNING, "100 MB of disk are left")
    assert api.post("/targets/web-1/disable", {"reason": "being repaired"}).status_code == 200
    shown = api.get("/targets/web-1").json
    assert (shown["health"], shown["health_reason"]) == ("disabled", "being repaired")
    with connection():
        assert shown["health_since"] == time_text(Target.get(Target.name == "web-1").disabled_at)
    names = {health: [row["name"] for row in api.get(f"/targets?health={health}").json["items"]]
             for health in ("disabled", "warning")}  # fmt: skip
    assert names == {"disabled": ["web-1"], "warning": []}
    api.post("/targets/web-1/enable", {})
    assert api.get("/targets/web-1").json["health"] == "warning"


def test_a_policy_is_made_given_changed_and_removed(api):
    wanted = {"name": "web", "interval_s": 600, "unavailable": "skip", "catch_up": True, "script": "df /"}
    made = api.post("/machine-policies", wanted)
    assert made.status_code == 201, made.text
    assert api.post("/machine-policies", wanted).status_code == 409
    assert api.post("/targets/web-2/policy", {"policy": "web"}).json["policy"] == "web"
    shown = api.get("/machine-policies/web").json
    assert (shown["targets"], shown["unavailable"], shown["catch_up"]) == (["web-2"], "skip", True)
    changed = api.put("/machine-policies/web", {**wanted, "interval_s": 900}, version=shown["version"])
    assert changed.json["interval_s"] == 900
    assert api.put("/machine-policies/web", wanted, version=shown["version"]).status_code == 412
    assert api.delete("/machine-policies/web", headers={"If-Match": "*"}).status_code == 204
    assert api.get("/targets/web-2").json["policy"] == "Default"
    with connection():
        actions = {row.action for row in Event.select() if row.object.startswith("machine-policy:")}
    assert actions == {"machine-policy.create", "machine-policy.update", "machine-policy.delete"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"interval_s": 5}, "interval_s"),
        ({"unavailable": "hope"}, "unavailable"),
        ({"unavailable": "skip", "wait_s": 60}, "wait_s"),
        ({"unavailable": "wait", "catch_up": True}, "catch_up"),
        ({"shell": "perl"}, "shell"),
        ({"wait_s": 100_000}, "wait_s"),
    ],
)
def test_a_policy_that_is_none_is_refused_with_its_field(api, body, field):
    refused = api.post("/machine-policies", {"name": "wrong", **body})
    assert (refused.status_code, refused.json["field"]) == (400, field)


def test_a_policys_script_may_be_in_any_language_that_the_runner_knows(api):
    known = next(prop for prop in KINDS["run-script"].properties if prop.name == "shell").choices
    assert {"bash", "sh", "python", "node", "powershell", "shebang"} <= set(known)
    for shell in known:
        made = api.post("/machine-policies", {"name": f"in {shell}", "shell": shell, "script": "x"})
        assert (made.status_code, made.json["shell"]) == (201, shell)
    document = {"kind": "MachinePolicy", "name": "in cobol", "shell": "cobol"}
    refused = apply(api, document)
    assert refused.status_code == 400
    assert ", ".join(known) in refused.json["detail"]


def test_only_who_may_run_scripts_everywhere_makes_policies(api):
    key = api.as_user("dora", "deployer", "project-admin")
    assert api.get("/machine-policies", key=key).status_code == 200
    assert api.post("/machine-policies", {"name": "x"}, key=key).status_code == 403
    assert api.post("/targets/web-3/policy", {"policy": "Default"}, key=key).status_code == 403


def test_apply_makes_policies_and_gives_them_and_says_when_nothing_changes(api):
    policy = {"kind": "MachinePolicy", "name": "shop", "unavailable": "wait", "wait_s": 600, "script": "true"}
    target = {"kind": "Target", "name": "web-3", "policy": "shop"}
    done = apply(api, target, policy)
    assert done.status_code == 200, done.text
    assert [found["action"] for found in done.json["differences"]] == ["update", "create"]
    assert api.get("/targets/web-3").json["policy"] == "shop"
    again = apply(api, target, policy).json["differences"]
    assert [found["action"] for found in again] == ["none", "none"]
    other = apply(api, {"kind": "MachinePolicy", "name": "shop", "unavailable": "skip", "catch_up": True})
    assert other.status_code == 200, other.text
    shown = api.get("/machine-policies/shop").json
    assert (shown["wait_s"], shown["catch_up"], shown["script"]) == (0, True, "true")
    wrong = apply(api, {"kind": "Target", "name": "web-3", "policy": "nobodys"})
    assert (wrong.status_code, wrong.json["field"]) == (400, "/policy")


def test_the_default_policy_stays_and_keeps_its_name(api):
    with connection(), write_tx():
        installed = api.installed
        row = machine_policies.ensure_default(installed.acting())
        assert machine_policies.ensure_default(installed.acting()).id == row.id
    assert api.delete("/machine-policies/Default", headers={"If-Match": "*"}).status_code == 409
    assert api.put("/machine-policies/Default", {"name": "Other"}).status_code == 409
    assert api.put("/machine-policies/Default", {"name": "Default", "unavailable": "fail"}).status_code == 200


def test_the_seal_of_a_policy_covers_its_script(api):
    with connection():
        policy = machine_policies.find_policy("shop")
        assert api.installed.seals.holds(policy)
        policy.script = "rm -rf /"
        assert not api.installed.seals.holds(policy)
