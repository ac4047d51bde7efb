"""One release from an empty hub to a deployment, over the API alone."""

import pytest

from hub.orchestrator.task_store import TaskStore
from hub.storage.database import connection

FILE = [
    {"kind": "Environment", "name": "Development"},
    {"kind": "Environment", "name": "Production"},
    {
        "kind": "Lifecycle",
        "name": "Default",
        "phases": [
            {"name": "Try", "environments": ["Development"]},
            {"name": "Live", "environments": ["Production"], "require": "all"},
        ],
    },
    {
        "kind": "Project",
        "name": "Storefront",
        "lifecycle": "Default",
        "variables": [
            {"name": "Greeting", "value": "Hello from #{Manyarm.Environment.Name}"},
            {"name": "Greeting", "value": "Good day", "scope": {"environments": ["Production"]}},
            {"name": "ApiToken", "secret": True, "value": "s3cr3t-token"},
        ],
        "process": [
            {
                "name": "Deploy web",
                "kind": "deploy-package",
                "roles": ["web"],
                "rolling": 1,
                "package": "storefront",
                "properties": {"install_to": "/srv/storefront"},
            },
            {"name": "Check", "kind": "run-script", "roles": ["web"], "timeout": "5m", "script": "true"},
        ],
    },
]


@pytest.fixture(scope="module")
def story(api_on_each):
    api = api_on_each
    applied = api.post("/apply", {"documents": FILE})
    assert applied.status_code == 200, applied.text
    api.add_target("web-1", roles=("web",), environments=("Development", "Production"))
    api.add_runner()
    assert api.push("storefront.1.0.0.zip").status_code == 201
    return api


def test_a_release_takes_the_newest_package_and_its_version(story):
    made = story.post("/releases", {"project": "Storefront"})
    assert made.status_code == 201, made.text
    assert (made.json["version"], made.json["packages"]) == ("1.0.0", {"storefront": "1.0.0"})
    assert story.post("/releases", {"project": "Storefront"}).json["version"] == "1.0.1"
    assert story.post("/releases", {"project": "Storefront", "version": "1.0.1"}).status_code == 409


def test_a_deployment_is_planned_then_made_then_cancelled(story):
    version = story.post("/releases", {"project": "Storefront"}).json["version"]
    wanted = {"project": "Storefront", "release": version, "environment": "Development"}
    plan = story.post("/deployments", wanted | {"plan_only": True})
    assert plan.status_code == 200, plan.text
    assert "s3cr3t-token" not in plan.text
    assert story.get("/deployments").json["items"] == []
    made = story.post("/deployments", wanted)
    assert made.status_code == 201, made.text
    task = story.get(f"/tasks/{made.json['task']}").json
    assert (task["kind"], task["project"], task["environment"], task["release"]) == (
        "deployment",
        "Storefront",
        "Development",
        version,
    )
    assert [step["name"] for step in task["steps"]] == ["Deploy web", "Check"]
    assert story.get(f"/deployments/{made.json['id']}").json["task"] == task["id"]
    assert story.get(f"/tasks/{task['id']}/log").status_code == 200
    assert story.post(f"/tasks/{task['id']}/cancel").status_code == 202


def test_a_release_may_not_skip_a_phase(story):
    release = story.post("/releases", {"project": "Storefront"}).json
    wanted = {"project": "Storefront", "release": release["version"], "environment": "Production"}
    refused = story.post("/deployments", wanted)
    assert (refused.status_code, refused.json["code"], refused.json["field"]) == (409, "NOT_YET", "environment")
    where = story.get(f"/releases/{release['id']}/progression").json["environments"]
    assert [(found["name"], found["allowed"]) for found in where] == [("Development", True), ("Production", False)]


def test_explain_names_the_winner_and_why_the_others_lose(story):
    found = story.get("/projects/storefront/variables/explain?name=Greeting&environment=Production").json
    assert found["winner"]["value"] == "Good day"
    assert [loser["value"] for loser in found["losers"]] == ["Hello from #{Manyarm.Environment.Name}"]
    assert "less specific" in found["losers"][0]["reason"]


def test_a_secret_is_never_given_back(story):
    variables = story.get("/projects/storefront/variables")
    assert "s3cr3t-token" not in variables.text
    secret = next(found for found in variables.json["items"] if found["secret"])
    assert secret["value"] is None
    releases = story.get("/releases?project=Storefront").json["items"]
    assert "s3cr3t-token" not in story.get(f"/releases/{releases[0]['id']}").text


def test_the_same_file_again_changes_nothing_and_its_export_is_the_same_file(story):
    again = story.post("/apply", {"documents": FILE}).json["differences"]
    assert [found["action"] for found in again] == ["none"] * 4
    exported = story.get("/projects/storefront/export").json["documents"]
    for document in exported:
        for variable in document.get("variables", []):
            if variable.get("secret"):
                variable["value"] = "s3cr3t-token"
    assert [found["kind"] for found in exported] == ["Environment", "Environment", "Lifecycle", "Project"]
    again = story.post("/apply", {"documents": exported})
    assert [found["action"] for found in again.json["differences"]] == ["none"] * 4, again.text


def test_a_script_runs_on_targets_that_are_named_and_never_on_none(story):
    made = story.post("/runs", {"script": "uptime", "targets": ["web-1"]})
    assert made.status_code == 201, made.text
    assert story.get(f"/tasks/{made.json['task']}").json["kind"] == "script-run"
    for nobody in ({}, {"targets": []}, {"roles": ["nowhere"]}):
        assert story.post("/runs", {"script": "uptime"} | nobody).status_code == 400


def test_a_script_is_in_a_language_that_the_runner_knows_and_strict_unless_it_is_said(story):
    def properties(**more):
        made = story.post("/runs", {"script": "true", "targets": ["web-1"], **more})
        assert made.status_code == 201, made.text
        with connection():
            plan = TaskStore(story.installed.engine).plan(made.json["task"])
        return plan.steps[0].properties

    assert properties() == {"script": "true", "shell": "bash", "strict": True}
    assert properties(shell="node", strict=False) == {"script": "true", "shell": "node", "strict": False}
    refused = story.post("/runs", {"script": "true", "targets": ["web-1"], "shell": "cobol"})
    assert (refused.status_code, refused.json["field"]) == (400, "shell")
    assert "expected one of bash, node, powershell, python, sh, shebang" in refused.json["detail"]


def test_the_dashboard_shows_the_newest_deployment(story):
    found = story.get("/dashboard")
    assert found.status_code == 200, found.text
    assert [row["slug"] for row in found.json["rows"]] == ["storefront"]
