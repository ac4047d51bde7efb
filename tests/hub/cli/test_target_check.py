"""`manyarm target check` and `manyarm machine-policy` against a hub's real API; the checks' ends are put in by hand."""

import json
import threading

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from hub.cli.__main__ import manyarm
from hub.infrastructure.targets import set_health
from hub.states import Health, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Job, Target, Task, now_ms
from tests.fakes.api_hub import running_api

FOUND = {
    "web-1": (Health.HEALTHY, ""),
    "web-2": (Health.WARNING, "100 MB of disk are left"),
    "web-3": (Health.UNAVAILABLE, "nothing listens at web-3:22"),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("hub")) as running:
        running.add_runner()
        for name in (*FOUND, "web-9"):
            running.add_target(name)
        running.post("/targets/web-9/disable", {"reason": "being repaired"})
        yield running


@pytest.fixture(scope="module")
def typed(api):
    def served(environ, start_response):
        with connection():
            return api.app(environ, start_response)

    server = make_server("127.0.0.1", 0, served, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment = {"MANYARM_URL": f"http://127.0.0.1:{server.server_port}", "MANYARM_API_KEY": api.key}
    yield lambda *words, answer=None: CliRunner().invoke(manyarm, words, env=environment, input=answer)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def checked():
    """Spokes that answer every check at once with what FOUND says."""
    stop = threading.Event()

    def answer():
        while not stop.wait(0.02):
            with connection(), write_tx():
                for task in Task.select().where(Task.kind == "health-check", Task.ended_at.is_null()):
                    row = Target.get_by_id(Job.get(Job.task == task.id).target)
                    set_health(row, *FOUND[row.name], now_ms())
                    Task.update(state=TaskState.SUCCEEDED, ended_at=1).where(Task.id == task.id).execute()

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_each_target_is_shown_with_its_health_and_why(typed, checked):
    done = typed("target", "check", "web-1", "web-2", "--watch", "--json")
    assert done.exit_code == 0, done.output
    shown = {row["name"]: (row["health"], row["health_reason"]) for row in json.loads(done.stdout)}
    assert shown == {name: (str(FOUND[name][0]), FOUND[name][1]) for name in ("web-1", "web-2")}


def test_all_leaves_the_disabled_out_and_ends_with_one_where_somebody_is_not_well(typed, checked):
    done = typed("target", "check", "--all", "--watch")
    assert done.exit_code == 1
    assert "1 of 3 not well: web-3" in done.output
    assert "nothing listens at web-3:22" in done.output
    assert "web-9" not in done.output


def test_without_watch_the_tasks_are_named(typed):
    done = typed("target", "check", "web-1", "--json")
    (asked,) = json.loads(done.stdout)
    assert typed("task", "show", asked["task"]).exit_code == 0


def test_nobody_is_checked_by_saying_nothing(typed):
    assert typed("target", "check").exit_code == 2
    assert typed("target", "check", "web-1", "--all").exit_code == 2
    assert typed("target", "check", "nobody").exit_code == 4


def test_a_disabled_target_is_listed_as_such_and_not_checked(typed):
    assert "disabled" in typed("target", "show", "web-9").output
    refused = typed("target", "check", "web-9")
    assert refused.exit_code == 2
    assert "being repaired" in refused.output


def test_policies_come_by_apply_and_are_listed_shown_given_and_deleted(typed, tmp_path):
    file = tmp_path / "policies.yaml"
    file.write_text("kind: MachinePolicy\nname: web\nunavailable: skip\ncatch_up: true\nscript: |\n  df /\n")
    assert typed("apply", "-f", str(file)).exit_code == 0
    assert typed("target", "set-policy", "web-1", "web").exit_code == 0
    (listed,) = json.loads(typed("machine-policy", "list", "--json").stdout)
    assert (listed["name"], listed["targets"]) == ("web", ["web-1"])
    assert "df /" in typed("machine-policy", "show", "web").output
    assert typed("machine-policy", "delete", "web", answer="y\n").exit_code == 0
    assert typed("machine-policy", "show", "web").exit_code == 4
