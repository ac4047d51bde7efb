"""Nothing says that a job runs whose owner is gone past its deadline: not a page, not the API, not a command.

The engine is gone, every deadline is past, and the rows still say `running`. All that shows anything is asked: what is
added later, too, for it is found in the maps of routes and commands.
"""

import http.client
import json
import re

import click
import pytest
from click.testing import CliRunner
from werkzeug.routing import Rule

from hub.cli.__main__ import manyarm
from hub.states import JobState, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Deployment, Job, Project, Release, Spoke, Task, Timer, now_ms

HOUR_MS = 3_600_000
UNDER_WAY = {"running", "cancelling"}
# What lists nothing that could be under way, or cannot be asked for without what it lists.
NO_STATE = {"variable", "variable_set", "package", "artifact", "user", "intent", "schema", "machine_policy", "filename"}
HAS_NO_STATE = {("package", "show"), ("machine-policy", "show")}
READS = {"waits", "list", "show", "logs", "sources"}


@pytest.fixture(scope="module", params=[TaskState.RUNNING, TaskState.CANCELLING], ids=str)
def forsaken(portal, request):
    """The deployment of the story, as its engine left it an hour ago."""
    with connection(), write_tx():
        then = now_ms() - HOUR_MS
        Task.update(state=request.param, started_at=then).where(Task.id == portal.task).execute()
        Timer.delete().where(Timer.task == portal.task).execute()
        Timer.create(task=portal.task, name="deadline", due_at=then)
        job = Job.select().where(Job.task == portal.task).order_by(Job.step_index).first()
        clocks = {"sent_at": then, "accepted_at": then, "started_at": then, "run_deadline_at": then + 1}
        Job.update(state=JobState.RUNNING, gives_up_at=then + 2, deadline_at=then, **clocks).where(
            Job.id == job.id
        ).execute()
        return {
            "task": portal.task,
            "deployment": Deployment.get(Deployment.task == portal.task).id,
            "project": Project.get(Project.name == "Storefront").slug,
            "release": Release.get().id,
            "version": "1.0.0",
            "environment": "Development",
            "target": "web-1",
            "spoke": Spoke.get(Spoke.name == "web-1").id,
            "lifecycle": "Default",
            "account": "deploy-login",
            "kind": "ssh",
        }


def paths(app, forsaken):
    """Every address that can be read, with the names of the story in it."""
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.arguments & NO_STATE and not rule.rule.endswith("/stream"):
            yield filled(rule, forsaken)


def filled(rule: Rule, forsaken):
    unknown = rule.arguments - forsaken.keys()
    assert not unknown, f"{rule.rule}: what is {unknown} in this story?"
    return re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda found: forsaken[found[1]], rule.rule)


def states_in(value, under="state"):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from states_in(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from states_in(inner, under)
    elif under in {"state", "health", "log", "status"}:
        yield value


def test_the_rows_would_say_so(portal, forsaken):
    with connection():
        assert Task.get_by_id(forsaken["task"]).state in UNDER_WAY
        assert Job.select().where(Job.task == forsaken["task"], Job.state == JobState.RUNNING).exists()


def test_no_answer_of_the_api_says_that_it_runs(portal, forsaken):
    asked = 0
    for path in paths(portal.app, forsaken):
        if path.startswith("/api/"):
            answer = portal.api.get(path)
            if answer.status_code == 200 and answer.is_json:
                asked += 1
                assert not UNDER_WAY & set(states_in(answer.json)), path
                assert not re.search(r'"running": *[1-9]', answer.text), path
    assert asked > 20
    found = portal.api.get(f"/tasks/{forsaken['task']}").json
    assert (found["state"], found["steps"][0]["state"]) == ("waiting", "waiting")
    assert found["steps"][0]["targets"][0]["state"] == "waiting"
    assert "nobody looks after it" in found["waiting_for"]
    assert {wait["owner"] for wait in found["waits"] if wait["what"] in {"task", "job"}} == {"the hub's engine"}


def test_lists_are_filtered_by_what_is_shown(portal, forsaken):
    for state in UNDER_WAY:
        assert portal.api.get(f"/tasks?state={state}").json["items"] == []
    listed = portal.api.get("/tasks?state=waiting").json["items"]
    assert [(task["id"], task["state"]) for task in listed] == [(forsaken["task"], "waiting")]


def test_no_page_says_that_it_runs(portal, ann, forsaken):
    asked = 0
    for path in paths(portal.app, forsaken):
        if not path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            page = ann.get(path)
            asked += page.status_code == 200
            # What can be chosen is no claim, nor is that none runs.
            claims = re.sub(r"<option[^>]*>\w+</option>|<strong>0</strong> running", "", page.text)
            assert not re.search(r"state-running|state-cancelling|>\s*(running|cancelling)\s*<", claims), path
    assert asked > 20


def test_no_figure_counts_it_as_running(portal, forsaken):
    figures = portal.api.get("/metrics").text
    assert re.search(r'manyarm_tasks{state="waiting"} 1\.0', figures)
    assert not re.search(r'manyarm_tasks{state="(running|cancelling)"} [1-9]', figures)


def test_no_stream_says_that_it_runs(portal, forsaken):
    with portal.served() as address:
        stream = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        key = {"Authorization": f"Bearer {portal.api.key}"}
        stream.request("GET", f"/api/v1/tasks/{forsaken['task']}/stream", headers=key)
        answer = stream.getresponse()
        line = ""
        while not line.startswith("event: state"):
            line = answer.readline().decode()
        assert json.loads(answer.readline().decode().removeprefix("data: "))["state"] == "waiting"
        stream.close()


def commands(found: click.Command, words=()):
    if isinstance(found, click.Group):
        inside = click.Context(found)
        for name in found.list_commands(inside):
            yield from commands(found.get_command(inside, name), (*words, name))
    elif any(option.name == "as_json" for option in found.params) and words[-1] in READS:
        yield words, [option.name for option in found.params if option.required]


def test_no_command_says_that_it_runs(portal, forsaken, monkeypatch):
    names = {"task_id": forsaken["task"], "project": "Storefront", "version": "1.0.0"}
    by_group = {"target": "web-1", "account": "deploy-login"}
    asked = 0
    with portal.served() as address:
        monkeypatch.setenv("MANYARM_API_KEY", portal.api.key)
        for words, wanted in commands(manyarm):
            known = names | ({"name": by_group[words[0]]} if words[0] in by_group else {})
            if words in HAS_NO_STATE:
                continue
            for more in ([], ["--json"]):
                arguments = [known[name] for name in wanted]
                done = CliRunner().invoke(manyarm, ["--url", address, *words, *arguments, *more])
                assert done.exit_code == 0, (words, done.output, done.exception)
                asked += 1
                cells = re.split(r"[\t\n]", done.output)
                assert not UNDER_WAY & {cell.strip() for cell in cells}, (words, done.output)
                assert not re.search(r'"state": "(running|cancelling)"', done.output), words
    assert asked > 16
