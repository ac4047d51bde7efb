"""The live log over a real HTTP server: complete, resumable, closed when it must be."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from itertools import islice

import pytest
from werkzeug.serving import make_server

from hub.access import users
from hub.api.log_poller import LogPoller
from hub.api.parts import ApiLimits
from hub.orchestrator import task_log
from hub.orchestrator.task_log import Lines
from hub.states import TaskKind, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import Lifecycle, Project, Task, User, now_ms
from tests.fakes.api_hub import running_api

LIMITS = ApiLimits(stream_s=60, stream_comment_s=0.3, stream_recheck_s=0.2)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("hub"), limits=LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def port(api):
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def task(api):
    with connection(), write_tx():
        return Task.create(kind=TaskKind.SCRIPT_RUN, title="Run", state=TaskState.RUNNING)


def say(api, task, *texts, state=None):
    with connection(), write_tx():
        task_log.append(
            api.installed.engine,
            [Lines(task.id, [now_ms()] * len(texts), ["stdout"] * len(texts), list(texts), "Step", "web-1")],
        )
        changes = {"version": Task.version + 1} | ({"state": state} if state else {})
        Task.update(changes).where(Task.id == task.id).execute()


@contextmanager
def stream(api, port, task, *, key=None, **headers):
    """The events of a stream, as (event, id, data)."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    client.request(
        "GET",
        f"/api/v1/tasks/{task.id}/stream",
        headers={"Authorization": f"Bearer {key or api.key}"} | {k.replace("_", "-"): v for k, v in headers.items()},
    )
    response = client.getresponse()
    try:
        yield response, events(response)
    finally:
        response.close()
        client.close()


def events(response):
    found = {}
    for raw in response:
        line = raw.decode().rstrip("\n")
        if not line:
            if "event" in found:
                yield found["event"], found.get("id"), json.loads(found["data"])
            elif ":" in found:
                yield "comment", None, None
            found = {}
        else:
            name, _, value = line.partition(": ")
            found[name or ":"] = value


def test_lines_come_as_they_are_printed_and_the_end_after_the_last(api, port, task):
    say(api, task, "one", "two")
    with stream(api, port, task) as (response, found):
        assert response.headers["Content-Type"].startswith("text/event-stream")
        seen = []
        for event, number, data in found:
            if event == "log":
                seen.append((int(number), data["text"], data["step"], data["target"]))
                if data["text"] == "two":
                    say(api, task, "<script>\u2028 three\r\n", "four", state=TaskState.SUCCEEDED)
            if event == "end":
                break
        assert [number for number, *_ in seen] == [1, 2, 3, 4]
        assert [text for _, text, *_ in seen] == ["one", "two", "<script>\u2028 three\r\n", "four"]
        assert seen[0][2:] == ("Step", "web-1")


def test_states_come_between_the_lines(api, port, task):
    with stream(api, port, task) as (_, found):
        states = []
        for event, _, data in found:
            if event == "state":
                states.append(data["state"])
                if data["state"] == "running":
                    say(api, task, "x", state=TaskState.FAILED)
            if event == "end":
                break
        assert states == ["running", "failed"]


def test_a_reconnect_misses_nothing_and_repeats_nothing(api, port, task):
    say(api, task, *[f"line {number}" for number in range(1, 3001)])
    with stream(api, port, task) as (_, found):
        last = next(number for event, number, _ in found if event == "log" and int(number) >= 1500)
    say(api, task, "the last", state=TaskState.SUCCEEDED)
    with stream(api, port, task, Last_Event_ID=last) as (_, found):
        rest = [int(number) for event, number, _ in found if event == "log"]
    assert rest == list(range(int(last) + 1, 3002))


def test_a_finished_task_that_was_read_to_its_end_has_nothing_more(api, port, task):
    say(api, task, "all", state=TaskState.SUCCEEDED)
    with stream(api, port, task, Last_Event_ID="1") as (response, _):
        assert response.status == 204


def test_a_quiet_stream_says_that_it_lives(api, port, task):
    with stream(api, port, task) as (_, found):
        assert next(event for event, _, _ in found if event == "comment")


def test_t167_a_stream_ends_when_its_reader_may_no_longer_see_the_task(api, port):
    with connection(), write_tx():
        project = Project.get_or_none() or Project.create(
            name="P",
            slug="p",
            lifecycle=Lifecycle.create(name="L").id,
        )
        task = Task.create(kind=TaskKind.DEPLOYMENT, title="T", state=TaskState.RUNNING, project=project.id)
    for name, end in {
        "disabled": lambda user: users.disable_user(api.installed.seals, User.get_by_id(user.id), now_ms()),
        "demoted": lambda user: user.grant_set.get().delete_instance(),
    }.items():
        key = api.as_user(name, "viewer")
        with stream(api, port, task, key=key) as (response, found):
            assert (response.status, next(found)[0]) == (200, "state")
            with connection(), write_tx():
                end(api.users[name])
            # It would say that it lives for as long as it may: only its end leaves fewer events than these.
            assert len(list(islice(found, 30))) < 30
        with stream(api, port, task, key=key) as (response, _):
            assert response.status in {401, 403, 404}


def test_t167_a_stream_of_another_project_does_not_open(api, port, task):
    with connection():
        project = Project.get_or_none()
    key = api.as_user("elsewhere", ("viewer", project.id if project else None, None))
    with stream(api, port, task, key=key) as (response, _):
        assert response.status == 404


def test_more_streams_than_a_process_holds_are_told_to_come_back(api, task):
    poller = LogPoller(api.installed.portal, streams=2)
    first, second = poller.watch(task.id), poller.watch(task.id)
    with pytest.raises(Exception, match="too many live logs"):
        poller.watch(task.id)
    poller.leave(first)
    assert poller.watch(task.id) is second
    for watched in (second, second):
        poller.leave(watched)


def test_watchers_that_leave_leave_nothing_behind(api, port, task):
    with stream(api, port, task) as (_, found):
        next(found)
        assert api.parts.poller._watched
    end = time.monotonic() + 10
    while api.parts.poller._watched and time.monotonic() < end:
        say(api, task, "noticed when it is written to")
        time.sleep(0.05)
    assert api.parts.poller._watched == {}
