"""R9: a program in another language, which knows the published documents alone, misses nothing whatever dies meanwhile."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.crash.points import trials
from tests.services.requires import requires
from tests.services.whole import end, until
from wire import integration_topology as topology
from wire.amqp import AmqpConnection
from wire.connection import Outgoing, Properties

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

CONSUMER = Path(__file__).parents[2] / "demo" / "consumer" / "consumer.mjs"


class Stranger:
    """The example consumer as a process, with an account and a key of its own."""

    def __init__(self, whole, folder, name):
        requires("node")
        self.whole = whole
        made = whole.json("integration", "add", name, "--commands", "--json")
        self.account, self.password = made["consumer"], made["password"]
        self.kept = folder / "kept.jsonl"
        self.log = folder / "consumer.log"
        scopes = ["event.view", "deployment.create", "project.view"]
        self.key = whole.call("POST", "/api-keys", {"name": name, "scopes": scopes})["key"]
        self.environ = {
            "PATH": os.environ["PATH"],
            "MANYARM_URL": whole.url,
            "MANYARM_API_KEY": self.key,
            "MANYARM_CONSUMER": f"{self.account['user']}:{self.password}:{self.account['events_queue']}",
        }
        self.process = None

    def start(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        node = shutil.which("node") or shutil.which("nodejs")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [node, CONSUMER, self.kept],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def connect(self):
        """A second program under the same account."""
        address = self.whole.environ["MANYARM_BROKER_BIND"]
        url = f"amqp://{self.account['user']}:{self.password}@{address}/{topology.VHOST}"
        return AmqpConnection(url, name="program", heartbeat_s=10)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def leave(self):
        """Its report, which it proves from what it kept."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, (out, self.log.read_text()[-3000:])
        return json.loads(out)

    def events(self):
        if not self.kept.exists():
            return []
        return [json.loads(line) for line in self.kept.read_text().split("\n")[:-1]]

    def until_kept(self, verb, count):
        def found():
            return sum(event["type"].endswith(f".{verb}.v1") for event in self.events()) >= count

        until(found, lambda: f"{verb} came not {count} times: {self.log.read_text()[-2000:]}", 180)


@pytest.fixture(scope="module")
def project(whole, tmp_path_factory):
    """Its deployments do nothing on web-1."""
    file = tmp_path_factory.mktemp("told") / "told.yaml"
    file.write_text(
        "kind: Lifecycle\nname: Told\nphases:\n  - {name: Try, environments: [Test]}\n---\n"
        "kind: Project\nname: Told\nlifecycle: Told\nprocess:\n"
        "  - {name: Nothing, kind: run-script, roles: [web], shell: bash, script: 'true'}\n"
    )
    whole.manyarm("apply", "-f", str(file))
    return "Told"


def deploy(whole, project):
    version = release(whole, project)
    return asked(whole, "/deployments", {"project": project, "release": version, "environment": "Test"})["task"]


def release(whole, project):
    return asked(whole, "/releases", {"project": project})["version"]


def asked(whole, path, body):
    """The answer, though the engine be away when it is asked."""
    found = whole.call("POST", path, body)
    if "link" not in found:
        return found
    link = found["link"].removeprefix("/api/v1")
    return until(lambda: whole.call("GET", link)["answer"], f"{path} is not answered", 120)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_consumer_that_knows_the_published_schemas_alone_misses_nothing(whole, project, tmp_path):
    """The broker, the engine and the consumer are killed in turn, and events are taken from its queue by somebody else."""
    program = Stranger(whole, tmp_path, "stranger")
    program.start()
    tasks = [deploy(whole, project)]
    program.until_kept("succeeded", 1)

    end(whole.broker_pid())
    tasks.append(deploy(whole, project))
    program.until_kept("succeeded", 2)

    end(whole.part("hub"))
    tasks.append(deploy(whole, project))
    program.until_kept("succeeded", 3)

    program.kill()
    tasks.append(deploy(whole, project))
    lost = take_away(program, 3)
    program.start()
    tasks.append(deploy(whole, project))
    program.until_kept("succeeded", 5)

    report = program.leave()
    assert report["missed"] == 0
    assert all(found["whole"] for found in report["sources"].values())
    assert report["replayed"] >= lost
    # The hub's own audit log is the witness: what it says of these tasks, in its order, is what was heard.
    heard = [event for event in program.events() if event["data"].get("task") in tasks]
    assert {task: verbs(heard, task) for task in tasks} == {task: ["requested", "succeeded"] for task in tasks}
    for source in report["sources"]:
        again = whole.call("GET", f"/integration/events?source={source}&limit=1000")["items"]
        assert [event for event in program.events() if event["source"] == source][: len(again)] == again
    whole.manyarm("integration", "remove", "stranger")


@pytest.fixture(scope="module")
def crash(whole):
    """Tells the hub where to end itself."""
    order = whole.folder / "crash"

    def tell(point):
        part = order.with_suffix(".part")
        part.write_text(point)
        part.rename(order)

    yield tell
    order.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def program(whole, tmp_path_factory):
    made = Stranger(whole, tmp_path_factory.mktemp("crashes"), "amid crashes")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()
    whole.manyarm("integration", "remove", "amid crashes")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", trials("integration"))
def test_an_engine_that_ends_there_misses_no_event_and_does_no_command_twice(whole, project, program, crash, row):
    program.start()
    before = whole.part("hub")
    if row.amid == "events":
        crash(row.point)
        tasks = [deploy(whole, project)]
        found = "whole"
    else:
        version = release(whole, project)
        crash(row.point)
        # Answered before it ended, it is answered once more when the command comes again.
        count = 2 if row.name == "command.answered" else 1
        answers = ask(program, {"project": project, "release": version, "environment": "Test"}, count)
        found = {answer["outcome"] for answer in answers}.pop()
        tasks = list({answer["task"] for answer in answers})
        made = whole.call("GET", "/deployments?limit=1000")["items"]
        assert [each["task"] for each in made if each["release"] == version] == tasks
    assert found in row.ends
    until(lambda: not (whole.folder / "crash").exists(), "the point was not reached", 120)
    until(lambda: all(verbs(program.events(), task) == ["requested", "succeeded"] for task in tasks), "not told", 120)
    until(lambda: whole.part("hub") != before, "the engine was not started again", 120)
    assert program.leave()["missed"] == 0


def ask(program, order, count):
    """Send a command; the answers' data."""
    link = program.connect()
    try:
        queue = link.consume(program.account["answers_queue"], prefetch=10)
        event = {
            "specversion": "1.0", "id": "1", "source": "/test", "type": "org.manyarm.deployment.request.v1",
            "idempotencykey": order["release"], "data": order,
        }  # fmt: skip
        said = Properties(
            content_type="application/cloudevents+json",
            reply_to=program.account["answers_queue"],
            headers={"authorization": f"Bearer {program.key}"},
        )
        message = Outgoing(topology.COMMANDS, topology.REQUEST_KEY, json.dumps(event).encode(), properties=said)
        link.publish(message).result(60)
        taken = [each for _ in range(count) for each in queue.take(1, 120)]
        assert len(taken) == count
        queue.ack(taken)
        queue.close()
        return [json.loads(each.body)["data"] for each in taken]
    finally:
        link.close()


def verbs(events, task):
    return [event["type"].split(".")[3] for event in events if event["data"].get("task") == task]


def take_away(program, count):
    """As a queue that ran over would: events are gone, and nobody says so."""
    link = program.connect()
    try:
        queue = link.consume(program.account["events_queue"], prefetch=1)
        for _ in range(count):
            taken = queue.take(1, 60)
            assert taken
            queue.ack(taken)
        queue.close()
    finally:
        link.close()
    return count
