"""R9: a program in another language, which knows the published documents alone, misses nothing whatever dies meanwhile."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.services.requires import requires
from tests.services.whole import end, until
from wire import integration_topology as topology
from wire.amqp import AmqpConnection

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
        key = whole.call("POST", "/api-keys", {"name": name, "scopes": ["event.view"]})["key"]
        self.environ = {
            "PATH": os.environ["PATH"],
            "MANYARM_URL": whole.url,
            "MANYARM_API_KEY": key,
            "MANYARM_CONSUMER": f"{self.account['user']}:{self.password}:{self.account['events_queue']}",
        }
        self.process = None

    def start(self):
        node = shutil.which("node") or shutil.which("nodejs")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [node, CONSUMER, self.kept],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )

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

        until(found, lambda: f"{verb} came not {count} times: {self.log.read_text()[-2000:]}", 90)


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
    version = whole.json("release", "create", project, "--json")["version"]
    return whole.call("POST", "/deployments", {"project": project, "release": version, "environment": "Test"})["task"]


@pytest.mark.timeout(300)
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
    lost = take_away(whole, program, 3)
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


def verbs(events, task):
    return [event["type"].split(".")[3] for event in events if event["data"]["task"] == task]


def take_away(whole, program, count):
    """As a queue that ran over would: events are gone, and nobody says so."""
    address = whole.environ["MANYARM_BROKER_BIND"]
    url = f"amqp://{program.account['user']}:{program.password}@{address}/{topology.VHOST}"
    link = AmqpConnection(url, name="thief", heartbeat_s=10)
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
