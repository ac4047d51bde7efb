"""The queue over the API: pause and resume, priorities, parents; who may, and what each caller sees of it."""

import pytest

from hub.projects.concurrency import key_of
from hub.storage.database import connection, write_tx
from hub.storage.models import Environment, Event, Project, Task, now_ms
from tests.hub.api.test_story import FILE
from tests.hub.orchestrator.rig import until

HERE = {"project": "Storefront", "environment": "Development", "release": "1.0.0"}


@pytest.fixture(scope="module")
def story(api_on_each):
    api = api_on_each
    assert api.post("/apply", {"documents": FILE}).status_code == 200
    assert api.post("/projects", {"name": "Other"}).status_code == 201
    api.add_target("web-1", roles=("web",), environments=("Development", "Production"))
    api.add_runner()
    assert api.push("storefront.1.0.0.zip").status_code == 201
    assert api.post("/releases", {"project": "Storefront", "version": "1.0.0"}).status_code == 201
    return api


@pytest.fixture(autouse=True)
def tidy(story):
    yield
    for pause in story.get("/queue").json["paused"]:
        where = {name: pause[name] for name in ("project", "environment") if pause[name]}
        assert story.post("/queue/resume", where).status_code == 200
    with connection():
        left = [row.id for row in Task.select().where(Task.ended_at.is_null())]
    for task in reversed(left):
        story.post(f"/tasks/{task}/cancel")
    with connection(), write_tx():
        Task.update(state="cancelled", ended_at=now_ms()).where(Task.ended_at.is_null()).execute()


def deploy(story, status=201, *, key=None, **more):
    made = story.post("/deployments", HERE | more, key=key)
    assert made.status_code == status, made.text
    return made.json["task"] if status == 201 else made.json


def shown(story, task):
    return story.get(f"/tasks/{task}").json


def test_a_paused_hub_says_by_whom_and_why_to_whoever_waits(story):
    paused = story.post("/queue/pause", {"reason": "new disks"})
    assert (paused.status_code, paused.json["place"], paused.json["by"]) == (200, "the hub", "root")
    task = deploy(story)
    assert shown(story, task)["state"] == "queued"
    assert shown(story, task)["waiting_for"].startswith("the hub is paused by root since ")
    wait = shown(story, task)["waits"][0]
    assert (wait["what"], wait["owner"]) == ("task", "root")
    assert "; fails at " in wait["sentence"]
    queue = story.get("/queue").json
    assert [pause["reason"] for pause in queue["paused"]] == ["new disks"]
    assert [(row["task"], row["priority"]) for row in queue["items"]] == [(task, "normal")]
    assert queue["items"][0]["why"].endswith(": new disks")
    assert (queue["running"], queue["waiting"]) == (0, 1)
    again = story.post("/queue/pause", {})
    assert (again.status_code, again.json["code"]) == (409, "PAUSED")
    assert "paused already, by root" in again.json["detail"]
    assert story.post("/queue/resume", {}).status_code == 200
    assert until(lambda: shown(story, task)["state"] == "running", wait_s=30.0)
    again = story.post("/queue/resume", {})
    assert (again.status_code, again.json["code"]) == (409, "NOT_PAUSED")


def test_a_project_and_an_environment_are_paused_apart_and_together(story):
    for where in ({"project": "Other"}, {"environment": "Production"}):
        assert story.post("/queue/pause", where).status_code == 200
    assert shown(story, deploy(story))["state"] == "running"
    both = story.post("/queue/pause", {"project": "Storefront", "environment": "Development"})
    assert both.json["place"] == "project Storefront in Development"
    waiting = shown(story, deploy(story))
    assert waiting["waiting_for"].startswith("project Storefront in Development is paused by root")


def test_pausing_is_an_event_in_the_caller_s_name(story):
    story.post("/queue/pause", {"environment": "Production", "reason": "audit"})
    with connection():
        event = Event.select().where(Event.action == "queue.pause").order_by(Event.seq.desc()).first()
    assert event.actor == f"user:{story.users['root'].id}"
    assert b"environment Production" in bytes(event.bytes)


def test_a_waiting_task_gets_another_priority(story):
    first, second = deploy(story), deploy(story)
    assert shown(story, second)["waits"][0]["owner"] == shown(story, first)["title"]
    made = story.post(f"/tasks/{second}/priority", {"priority": "high"})
    assert (made.status_code, made.json) == (200, {"task": second, "priority": "high"})
    assert shown(story, second)["priority"] == "high"
    refused = story.post(f"/tasks/{first}/priority", {"priority": "low"})
    assert (refused.status_code, refused.json["code"]) == (409, "NOT_QUEUED")
    assert story.post(f"/tasks/{second}/priority", {"priority": "highest"}).status_code == 400


def test_a_deployment_begins_in_the_place_of_the_task_that_waits_for_it(story):
    parent = deploy(story)
    child = deploy(story, parent=parent)
    assert (shown(story, child)["state"], shown(story, child)["parent"]) == ("running", parent)
    assert deploy(story, 404, parent="0" * 32)["detail"].startswith("no task")


def test_a_project_says_how_many_and_which_never_run_together(story):
    document = {"kind": "Project", "name": "Other", "concurrency": "db #{Manyarm.Environment.Name}", "tasks_at_once": 3}
    assert story.post("/apply", {"documents": [document]}).status_code == 200
    found = story.get("/projects/other").json
    assert (found["concurrency"], found["tasks_at_once"]) == ("db #{Manyarm.Environment.Name}", 3)
    refused = story.post("/apply", {"documents": [document | {"concurrency": "#{Manyarm.Release.Version}"}]})
    assert refused.status_code == 400
    assert "expected no variable but" in refused.text
    with connection():
        project, environment = Project.get(Project.name == "Other"), Environment.get(Environment.name == "Production")
        assert key_of(project, environment) == "~db Production"


def test_who_may_deploy_may_not_go_before_others_or_hold_them(story):
    with connection():
        project = Project.get(Project.name == "Storefront").id
        development = Environment.get(Environment.name == "Development").id
    deployer = story.as_user("dora", ("deployer", project, None))
    admin = story.as_user("paula", ("project-admin", project, None))
    local = story.as_user("luis", ("project-admin", None, development))
    first = deploy(story, key=deployer)
    waiting = deploy(story, key=deployer, priority="low")
    assert deploy(story, 403, key=deployer, priority="high")["detail"] == "this needs the permission queue.edit"
    for path, body in (
        ("/queue/pause", {"project": "Storefront"}),
        (f"/tasks/{waiting}/priority", {"priority": "normal"}),
    ):
        assert story.post(path, body, key=deployer).status_code == 403
    # In his own project he may; not so in the hub, in an environment of all, or before other projects.
    assert story.post(f"/tasks/{waiting}/priority", {"priority": "high"}, key=admin).status_code == 200
    assert story.post(f"/tasks/{waiting}/priority", {"priority": "urgent"}, key=admin).status_code == 403
    assert deploy(story, 403, key=admin, priority="urgent")
    assert story.post(f"/tasks/{waiting}/priority", {"priority": "urgent"}).status_code == 200
    assert story.post(f"/tasks/{waiting}/priority", {"priority": "low"}, key=admin).status_code == 403
    for where in ({}, {"environment": "Development"}):
        assert story.post("/queue/pause", where, key=admin).status_code == 403
    assert story.post("/queue/pause", {"project": "Storefront"}, key=admin).status_code == 200
    assert story.post("/queue/pause", {"environment": "Development"}, key=local).status_code == 200
    assert story.post("/queue/pause", {"environment": "Production"}, key=local).status_code == 403
    assert shown(story, first)["state"] == "running"


def test_nobody_sees_the_queue_or_the_pauses_of_a_foreign_project(story):
    with connection():
        other = Project.get(Project.name == "Other").id
    stranger = story.as_user("otto", ("project-admin", other, None))
    story.post("/queue/pause", {"project": "Storefront", "reason": "a secret plan"})
    task = deploy(story)
    queue = story.get("/queue", key=stranger).json
    assert queue == {"paused": [], "running": 0, "waiting": 0, "items": [], "next": None}
    assert story.post("/queue/resume", {"project": "Storefront"}, key=stranger).status_code == 404
    assert story.post(f"/tasks/{task}/priority", {"priority": "low"}, key=stranger).status_code == 404
    # To name a foreign task as the one that waits would be to take its place.
    assert deploy(story, 404, key=stranger, parent=task)
