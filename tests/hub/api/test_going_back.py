"""Going back, and a look at what would change in files, over the API."""

import pytest

from hub.states import TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Deployment, Lifecycle, Project, Task, now_ms
from tests.hub.api.test_story import FILE

HERE = {"project": "Storefront", "environment": "Development"}


@pytest.fixture(scope="module")
def story(api):
    assert api.post("/apply", {"documents": FILE}).status_code == 200
    api.add_target("web-1", roles=("web",), environments=("Development", "Production"))
    api.add_target("web-2", roles=("web",), environments=("Development", "Production"))
    api.add_runner()
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        assert api.push(f"storefront.{version}.zip").status_code == 201
        assert api.post("/releases", {"project": "Storefront", "version": version}).status_code == 201
    return api


def ended(task, state=TaskState.SUCCEEDED):
    with connection(), write_tx():
        at = now_ms()
        Task.update(state=state, started_at=at, ended_at=at, version=Task.version + 1).where(Task.id == task).execute()


def deploy(story, version, state=TaskState.SUCCEEDED):
    made = story.post("/deployments", HERE | {"release": version})
    assert made.status_code == 201, made.text
    ended(made.json["task"], state)


def roll_back(story, **more):
    made = story.post("/deployments", HERE | {"switch": True} | more)
    assert made.status_code == 201, made.text
    return made.json


def cell(story):
    return story.get("/dashboard").json["rows"][0]["cells"][0]


def test_where_nothing_was_before_there_is_nothing_to_go_back_to(story):
    refused = story.post("/deployments", HERE | {"switch": True})
    assert (refused.status_code, refused.json["code"]) == (409, "NEVER_THERE")
    assert "no other release of Storefront was in Development with success before" in refused.json["detail"]
    refused = story.post("/deployments", HERE | {"switch": True, "release": "1.0.0"})
    assert (refused.status_code, refused.json["code"], refused.json["field"]) == (409, "NEVER_THERE", "release")


def test_going_back_leads_to_what_was_there_before_and_on(story):
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        deploy(story, version)
    first = roll_back(story)
    assert first["release"] == "1.1.0"
    task = story.get(f"/tasks/{first['task']}").json
    assert (task["kind"], task["release"]) == ("deployment", "1.1.0")
    assert task["title"] == "Roll Storefront back to 1.1.0 in Development"
    ended(first["task"])
    shown = story.get(f"/deployments/{first['id']}").json
    assert (shown["rollback"], shown["release"], shown["state"]) == (True, "1.1.0", "succeeded")
    found = cell(story)
    assert (found["version"], found["running_version"], found["rollback"]) == ("1.1.0", None, True)
    releases = {row["version"]: row["id"] for row in story.get("/releases?project=Storefront").json["items"]}
    where = {
        version: story.get(f"/releases/{row}/progression").json["environments"][0]["present"]
        for version, row in releases.items()
    }
    assert where == {"1.0.0": False, "1.1.0": True, "1.2.0": False}
    second = roll_back(story)
    assert second["release"] == "1.0.0"
    ended(second["task"])
    assert story.post("/deployments", HERE | {"switch": True}).status_code == 409


def test_after_a_failure_going_back_leads_to_what_was_there(story):
    deploy(story, "1.1.0")
    deploy(story, "1.2.0", TaskState.FAILED)
    assert cell(story)["running_version"] == "1.1.0"
    made = roll_back(story)
    assert made["release"] == "1.1.0"
    ended(made["task"])


def test_the_audit_log_says_who_went_back_from_what_to_what(story):
    rows = story.get("/events?action=deployment.rollback").json["items"]
    assert [(row["detail"]["from"], row["detail"]["release"]) for row in rows if row["outcome"] == "ok"] == [
        ("1.1.0", "1.1.0"),
        ("1.1.0", "1.0.0"),
        ("1.2.0", "1.1.0"),
    ]


def test_what_was_there_may_come_back_whatever_the_lifecycle_says_now(story):
    with connection(), write_tx():
        lifecycle = Lifecycle.get_by_id(Project.get(Project.name == "Storefront").lifecycle)
        kept = lifecycle.phases
        lifecycle.phases = kept[::-1]
        story.installed.seals.seal(lifecycle)
        lifecycle.save()
    try:
        assert story.post("/deployments", HERE | {"release": "1.0.0"}).json["code"] == "NOT_YET"
        made = roll_back(story, release="1.0.0")
        ended(made["task"], TaskState.FAILED)
        assert story.post(f"/tasks/{made['task']}/retry").status_code == 201
        retried = Deployment.select().order_by(Deployment.created_at.desc()).first()
        assert retried.rollback
        ended(retried.task)
    finally:
        with connection(), write_tx():
            lifecycle.phases = kept
            story.installed.seals.seal(lifecycle)
            lifecycle.save()


def test_the_plan_of_going_back_is_shown_and_nothing_is_done(story):
    before = len(story.get("/deployments").json["items"])
    wanted = HERE | {"switch": True, "release": "1.1.0", "plan_only": True, "only_targets": ["web-2"]}
    plan = story.post("/deployments", wanted).json["plan"]
    assert (plan["mode"], plan["release"]) == ("switch", "1.1.0")
    assert [(step["name"], step["mode"]) for step in plan["steps"]] == [("Deploy web", "switch"), ("Check", "install")]
    assert plan["steps"][0]["batches"] == [["web-2"]]
    assert len(story.get("/deployments").json["items"]) == before


def test_steps_can_be_skipped_on_the_way_back(story):
    made = roll_back(story, release="1.1.0", skip_steps=["Check"])
    steps = [step["name"] for step in story.get(f"/tasks/{made['task']}").json["steps"]]
    assert steps == ["Deploy web"]
    ended(made["task"])


def test_a_preview_is_a_task_and_no_deployment(story):
    before = story.get("/deployments").json
    made = story.post("/deployments", HERE | {"release": "1.2.0", "preview": True})
    assert made.status_code == 201, made.text
    assert set(made.json) == {"task"}
    task = story.get(f"/tasks/{made.json['task']}").json
    assert (task["kind"], task["state"], task["title"]) == (
        "preview",
        "running",
        "Preview Storefront 1.2.0 in Development",
    )
    assert [step["name"] for step in task["steps"]] == ["Deploy web"]
    other = story.post("/deployments", HERE | {"release": "1.1.0"}).json["task"]
    assert story.get(f"/tasks/{other}").json["state"] == "running", "it need not wait for a preview"
    ended(other)
    ended(made.json["task"], TaskState.FAILED)
    after = story.get("/deployments").json
    assert len(after["items"]) == len(before["items"]) + 1
    assert cell(story)["version"] == "1.1.0"
    assert story.get("/dashboard").json["counts"]["failed_today"] == 2, "those of the tests above"
    again = story.post(f"/tasks/{made.json['task']}/retry")
    assert again.status_code == 201, again.text
    assert story.get(f"/tasks/{again.json['task']}").json["kind"] == "preview"


def test_a_preview_proves_nothing_to_a_lifecycle(story):
    assert story.post("/releases", {"project": "Storefront", "version": "2.0.0"}).status_code == 201
    made = story.post("/deployments", HERE | {"release": "2.0.0", "preview": True})
    ended(made.json["task"])
    refused = story.post("/deployments", HERE | {"release": "2.0.0", "environment": "Production"})
    assert refused.json["code"] == "NOT_YET"
    refused = story.post("/deployments", HERE | {"release": "2.0.0", "environment": "Production", "preview": True})
    assert refused.json["code"] == "NOT_YET"


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"release": "1.0.0", "preview": True, "switch": True}, "preview"),
        ({"release": "1.0.0", "preview": True, "plan_only": True}, "preview"),
        ({"preview": True}, "release"),
        ({}, "release"),
        ({"switch": "yes"}, "switch"),
    ],
)
def test_what_does_not_go_together_is_named(story, wanted, field):
    refused = story.post("/deployments", HERE | wanted)
    assert (refused.status_code, refused.json["field"]) == (400, field)


def test_going_back_and_looking_need_the_right_to_deploy(story):
    key = story.as_user("viv", "viewer")
    for wanted in ({"switch": True, "release": "1.0.0"}, {"preview": True, "release": "1.0.0"}):
        assert story.post("/deployments", HERE | wanted, key=key).status_code == 403
        assert story.post("/deployments", HERE | wanted | {"plan_only": "switch" in wanted}, key=key).status_code == 403
