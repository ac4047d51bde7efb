"""What others hear: in order, numbered without holes, as the documents say, and nothing that is not theirs."""

import json
import re
import threading
from collections import defaultdict
from dataclasses import replace

import pytest
from peewee import fn

from hub.broker.errors import BrokerError
from hub.events.record import record
from hub.integration.event_types import EVENT_TYPES
from hub.integration.numbering import make_events, prune
from hub.storage.database import connection, write_tx
from hub.storage.models import Deployment, Event, EventCursor, IntegrationEvent, Task, now_ms
from tests.fakes.json_schema import faults
from tests.services.whole import until
from wire import integration_topology as topology
from wire.errors import WireError

SECRETS = {
    "person": "kaspar-von-hauser",
    "variable": "PinOfTheSafe",
    "value": "canary-value-1",
    "secret": "canary-secret-2",
    "script": "canary-script-3",
    "target": "canary-machine-4.inner.example",
    "reason": "canary-reason-5",
    "notes": "canary-notes-6",
}


def documents(name, **changes):
    """A project of that name, which deploys a script to Test."""
    return [
        {"kind": "Environment", "name": "Test"},
        {"kind": "Lifecycle", "name": "Straight", "phases": [{"name": "Try", "environments": ["Test"]}]},
        {
            "kind": "Project",
            "name": name,
            "lifecycle": "Straight",
            "variables": [
                {"name": SECRETS["variable"], "value": SECRETS["value"]},
                {"name": "Token", "secret": True, "value": SECRETS["secret"]},
            ],
            "process": [{"name": "Say", "kind": "run-script", "roles": ["web"], "script": f"echo {SECRETS['script']}"}],
        }
        | changes,
    ]


def made_project(world, name):
    applied = world.hub.post("/apply", {"documents": documents(name)})
    assert applied.status_code == 200, applied.text


@pytest.fixture(scope="module")
def ready(world):
    world.hub.add_runner()
    made_project(world, "Shop")
    world.hub.add_target(SECRETS["target"], roles=("web",), environments=("Test",))
    return world


def deploy(world, project):
    release = world.hub.post("/releases", {"project": project, "notes": SECRETS["notes"]})
    assert release.status_code == 201, release.text
    wanted = {"project": project, "release": release.json["version"], "environment": "Test"}
    made = world.hub.post("/deployments", wanted)
    assert made.status_code == 201, made.text
    return made.json


def ended(task_id, state):
    """As the engine records the end of a task."""
    task = Task.get_by_id(task_id)
    with write_tx():
        record(
            f"{task.kind}.{state}",
            f"task:{task.id}",
            actor="system",
            outcome="ok" if state == "succeeded" else "failed",
            project=task.project,
            environment=task.environment,
            detail={"failure": SECRETS["reason"]},
        )


def numbers(events):
    found = defaultdict(list)
    for event in events:
        found[event["source"]].append(int(event["sequence"]))
    return found


def test_everything_that_is_told_is_told_as_the_served_documents_say(world_on_each):
    """Done with every kind of change that has a type; each type that came is checked against what the hub serves."""
    world, hub = world_on_each, world_on_each.hub
    program = world.program()
    hub.add_runner()
    made_project(world, "Story")
    hub.as_user(SECRETS["person"], "system-admin")
    target = hub.add_target(SECRETS["target"], roles=("web",), environments=("Test",))
    for verb, body in (("disable", {"reason": SECRETS["reason"]}), ("enable", {})):
        assert hub.post(f"/targets/{target.id}/{verb}", body).status_code == 200
    first, second = deploy(world, "Story"), deploy(world, "Story")
    assert hub.post(f"/tasks/{second['task']}/cancel").status_code == 202
    with connection():
        ended(first["task"], "succeeded")
    run = hub.post("/runs", {"script": SECRETS["script"], "shell": "bash", "targets": [target.id]}).json
    with connection():
        ended(run["task"], "failed")
    changed = documents("Story", description=SECRETS["notes"])
    assert hub.post("/apply", {"documents": changed}).status_code == 200
    assert hub.push("storefront.1.0.0.zip").status_code == 201
    assert hub.delete("/packages/storefront/versions/1.0.0").status_code == 204
    assert hub.post("/environments", {"name": "Short"}).status_code == 201
    assert hub.delete("/environments/Short", headers={"If-Match": "*"}).status_code == 204
    world.publish()
    mine = program.stored()
    deliveries = program.take(topology.events_queue(program.id), len(mine))
    assert [delivery.body.decode() for delivery in deliveries] == [row.body for row in mine]
    told = {
        json.loads(delivery.body)["type"].removeprefix("org.manyarm.").removesuffix(".v1") for delivery in deliveries
    }
    assert told >= {
        "deployment.requested", "deployment.succeeded", "deployment.cancel-requested", "run.requested", "run.failed",
        "project.created", "project.changed", "release.created", "environment.created", "environment.deleted",
        "package.pushed", "package.deleted", "target.disabled", "target.enabled",
    }  # fmt: skip
    described = hub.get("/integration/asyncapi.json").json
    for delivery in deliveries:
        check(hub, described, delivery)


def check(hub, described, delivery):
    """One delivery against the AsyncAPI document and the schema that it names."""
    event = json.loads(delivery.body)
    (channel,) = (each for each in described["channels"].values() if fits(each["address"], delivery.key))
    (message,) = channel["messages"]
    component = described["components"]["messages"][message]
    schema = hub.get(component["payload"]["$ref"], key="").json
    assert faults(schema, event) == [], delivery.key
    assert event["dataschema"].endswith(component["payload"]["$ref"])
    assert component["name"] == event["type"] == delivery.properties.type
    assert channel["bindings"]["amqp"]["exchange"]["name"] == delivery.exchange
    assert delivery.properties.content_type.startswith(component["contentType"])
    attributes = {name: value for name, value in event.items() if name != "data"}
    assert delivery.properties.headers == {f"cloudEvents_{name}": value for name, value in attributes.items()}
    assert (delivery.message_id, delivery.user_id) == (event["id"], "hub")


def fits(address, key):
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^.]+", re.escape(address)), key) is not None


def test_a_schema_that_says_something_else_would_be_noticed(ready):
    schema = ready.hub.get("/integration/schemas/target.enabled.v1", key="").json
    event = {
        "specversion": "1.0", "id": "x", "source": f"/hubs/{'a' * 32}/epochs/1", "type": "org.manyarm.target.enabled.v1",
        "sequence": "0" * 19 + "1", "data": {"target": "t", "actor": {"kind": "hub", "id": None}},
    }  # fmt: skip
    assert faults(schema, event) == []
    assert faults(schema, event | {"sequence": "1"})
    assert faults(schema, event | {"data": {"target": "t"}})
    assert faults(schema, event | {"more": "x"})


def test_every_type_has_a_schema_and_a_channel_of_its_own(ready):
    described = ready.hub.get("/integration/asyncapi.json").json
    addresses = [channel["address"] for channel in described["channels"].values()]
    assert len(set(addresses)) == len(addresses) == len(EVENT_TYPES) + 3
    for name, message in described["components"]["messages"].items():
        schema = ready.hub.get(message["payload"]["$ref"], key="")
        assert (schema.status_code, schema.json["title"]) == (200, name)
    assert described["servers"]["broker"]["pathname"] == "/manyarm-integration"


def test_numbers_have_no_holes_in_any_source_whatever_was_not_told(ready):
    program = ready.program()
    for _ in range(3):
        deploy(ready, "Shop")
        ready.hub.as_user(f"someone-{now_ms()}", "viewer")
    with connection(), write_tx():
        record("session.create", "user:x", actor="user:x", outcome="refused", detail={"address": "10.0.0.1"})
    ready.publish()
    events = program.hear(len(program.stored()))
    with connection():
        stored = [json.loads(row.body) for row in IntegrationEvent.select().order_by(IntegrationEvent.seq)]
    for found in (numbers(stored), numbers(events)):
        assert all(part == list(range(part[0], part[0] + len(part))) for part in found.values())
    assert all(part[0] == 1 for part in numbers(stored).values())


def test_what_is_secret_or_private_stands_in_no_event(ready):
    ready.hub.as_user(SECRETS["person"], "system-admin")
    for made in (deploy(ready, "Shop"), deploy(ready, "Shop")):
        with connection():
            ended(made["task"], "failed")
    target = ready.hub.get("/targets").json["items"][0]["id"]
    assert ready.hub.post(f"/targets/{target}/disable", {"reason": SECRETS["reason"]}).status_code == 200
    assert ready.hub.post(f"/targets/{target}/enable").status_code == 200
    value = {"name": SECRETS["variable"], "value": SECRETS["value"]}
    assert ready.hub.post("/projects/Shop/variables", value).status_code in {200, 201}
    ready.publish()
    with connection():
        everything = "\n".join(row.key + row.body for row in IntegrationEvent.select())
    assert "variables.changed" in everything
    for what, canary in SECRETS.items():
        assert canary.lower() not in everything.lower(), what
    assert ready.hub.key not in everything


def test_a_consumer_of_one_project_hears_of_that_one_alone_whatever_it_is_called(ready):
    """And of its end; whoever takes the free name gets the word, before his first event."""
    made_project(ready, "Mine")
    made_project(ready, "Other")
    ready.publish()
    mine = ready.program(projects=["Mine"])
    project = ready.hub.get("/projects/Mine").json
    deploy(ready, "Mine")
    deploy(ready, "Other")
    renamed = {"description": "", "lifecycle": project["lifecycle"], "name": "My own"}
    assert ready.hub.put(f"/projects/{project['id']}", renamed).status_code == 200
    # Nothing of it may be under way when it goes.
    (task,) = (row.task for row in mine_deployments(project["id"]))
    with connection(), write_tx():
        Task.update(state="succeeded").where(Task.id == task).execute()
    ready.make()
    assert ready.hub.delete(f"/projects/{project['id']}", headers={"If-Match": "*"}).status_code == 204
    ready.make()
    made_project(ready, "Mine")
    deploy(ready, "Mine")
    ready.make()
    deploy(ready, "Other")
    ready.publish()
    heard = mine.hear(4)
    assert [(event["type"].split(".")[-3:-1], event["data"]["project"]["id"]) for event in heard] == [
        (["release", "created"], project["id"]), (["deployment", "requested"], project["id"]),
        (["project", "changed"], project["id"]), (["project", "deleted"], project["id"]),
    ]  # fmt: skip
    same_word = [row for row in mine.stored() if row.key.split(".")[1] == "mine"]
    assert len(same_word) == 4 + 3, "the new owner had events of its own"
    own_queue = topology.events_queue(mine.id)
    bound = ready.admin._call("GET", f"queues/{topology.VHOST}/{own_queue}/bindings")
    assert [found["routing_key"] for found in bound if found["source"]] == []


def mine_deployments(project):
    with connection():
        return list(Deployment.select().where(Deployment.project == project))


def test_events_are_given_again_from_a_number_on_as_they_were_published(ready):
    program = ready.program()
    deploy(ready, "Shop")
    deploy(ready, "Shop")
    ready.publish()
    heard = [event for event in program.hear(4) if "/projects/" in event["source"]]
    source, first = heard[0]["source"], int(heard[0]["sequence"])
    again = ready.hub.get(f"/integration/events?source={source}&after={first - 1}").json
    assert (again["items"], again["next"]) == (heard, None)
    page = ready.hub.get(f"/integration/events?source={source}&after={first - 1}&limit=1").json
    assert (page["items"], page["next"]) == (heard[:1], str(first))
    listed = {found["source"]: found for found in ready.hub.get("/integration/sources").json["items"]}
    assert listed[source]["newest"] == listed[source]["published"] == int(heard[-1]["sequence"])


def test_events_of_a_project_are_for_who_may_see_all_of_it(ready):
    with connection():
        project = ready.hub.get("/projects/Shop").json["id"]
        test = ready.hub.get("/environments/Test").json["id"]
    ready.publish()
    source = ready.origin[0].source(project)
    keys = {
        "whole": ready.hub.as_user("of the project", ("project-admin", project, None)),
        "part": ready.hub.as_user("of one environment", ("project-admin", project, test)),
        "other": ready.hub.as_user("of nothing", "deployer"),
        "scoped": ready.hub.as_user("by key", "system-admin", scopes=["deployment.create"]),
    }
    asked = {who: ready.hub.get(f"/integration/events?source={source}", key=key) for who, key in keys.items()}
    assert {who: answer.status_code for who, answer in asked.items()} == {
        "whole": 200, "part": 404, "other": 403, "scoped": 403,
    }  # fmt: skip
    assert [found["source"] for found in ready.hub.get("/integration/sources", key=keys["whole"]).json["items"]] == [
        source
    ]
    assert ready.hub.get("/integration/sources", key=keys["part"]).json["items"] == []
    hubs_own = ready.origin[0].source(None)
    assert ready.hub.get(f"/integration/events?source={hubs_own}", key=keys["whole"]).status_code == 404


def test_what_is_not_kept_any_more_is_said_to_be_gone(ready):
    made_project(ready, "Old")
    deploy(ready, "Old")
    ready.publish()
    project = ready.hub.get("/projects/Old").json["id"]
    source = ready.origin[0].source(project)
    with connection():
        IntegrationEvent.update(at=1).where(IntegrationEvent.source == source, IntegrationEvent.sequence <= 2).execute()
        prune(2)
    gone = ready.hub.get(f"/integration/events?source={source}&after=1")
    assert (gone.status_code, gone.json["code"]) == (410, "EVENTS_GONE")
    kept = ready.hub.get(f"/integration/events?source={source}&after=2").json
    assert [int(event["sequence"]) for event in kept["items"]] == [3]
    (listed,) = (found for found in ready.hub.get("/integration/sources").json["items"] if found["source"] == source)
    assert (listed["oldest"], listed["newest"]) == (3, 3)


def test_what_no_broker_has_confirmed_is_kept_however_old_it_is(ready):
    deploy(ready, "Shop")
    with connection():
        with write_tx():
            before = EventCursor.get_by_id(1).published
            EventCursor.update(published=0).where(EventCursor.id == 1).execute()
        count = IntegrationEvent.select().count()
        assert prune(now_ms() + 1) == 0
        assert IntegrationEvent.select().count() == count
        with write_tx():
            EventCursor.update(published=before).where(EventCursor.id == 1).execute()


def test_a_hub_that_dies_between_publishing_and_noting_it_publishes_the_same_again(ready):
    program = ready.program()
    deploy(ready, "Shop")
    with connection():
        before = EventCursor.get_by_id(1).published
    ready.publish()
    with connection(), write_tx():
        EventCursor.update(published=before).where(EventCursor.id == 1).execute()
    ready.start_again()
    ready.publish()
    heard = program.take(topology.events_queue(program.id), 4)
    assert [delivery.body for delivery in heard[:2]] == [delivery.body for delivery in heard[2:]]
    assert [delivery.message_id for delivery in heard[:2]] == [delivery.message_id for delivery in heard[2:]]


def test_a_restored_hub_numbers_in_a_source_of_its_own(ready):
    program = ready.program()
    ready.origin[0] = replace(ready.origin[0], epoch=2)
    try:
        deploy(ready, "Shop")
        ready.publish()
    finally:
        ready.origin[0] = replace(ready.origin[0], epoch=1)
    assert [(event["source"].split("/")[4], int(event["sequence"])) for event in program.hear(2)] == [
        ("2", 1),
        ("2", 2),
    ]


def test_a_broker_that_lost_everything_is_laid_out_anew_and_what_it_lost_is_given_again(ready):
    """Its accounts, queues and bindings come back by themselves; what lay in the queues the numbers show to be missing."""
    program = ready.program(projects=["Shop"])
    deploy(ready, "Shop")
    ready.publish()
    ready.admin._call("DELETE", f"vhosts/{topology.VHOST}")
    ready.admin.remove_user(program.user)
    until(lambda: not ready.side.is_ready, "the hub did not notice")
    deploy(ready, "Shop")
    until(lambda: published(ready), "the hub did not lay it out anew", 90)
    heard = program.hear(2)
    first = int(heard[0]["sequence"])
    lost = ready.hub.get(f"/integration/events?source={heard[0]['source']}&after={first - 3}&limit=2").json["items"]
    assert [event["id"] for event in lost] == [json.loads(row.body)["id"] for row in program.stored()[:2]]


def published(world):
    """Whether a round of the publisher went through; with the broker away it says so and nothing is lost."""
    try:
        world.publish()
    except (BrokerError, WireError):
        return False
    return True


def test_every_queue_of_an_integration_has_its_limits(ready):
    """What a consumer does not fetch goes from the head on; what it sends and nobody takes comes back to it."""
    program = ready.program()
    listed = ready.admin._call("GET", f"queues/{topology.VHOST}?disable_stats=true")
    by_name = {entry["name"]: (entry["type"], entry.get("policy")) for entry in listed}
    assert by_name[topology.events_queue(program.id)] == ("quorum", "consumer-events")
    assert by_name[program.answers] == ("classic", "consumer-answers")
    assert by_name[topology.HUB_COMMANDS] == ("quorum", "hub-commands")
    assert by_name[topology.HUB_DEAD] == ("classic", "hub-dead")


def test_two_nodes_that_number_at_once_give_each_number_once(world_on_each):
    """Both read the same rows; whoever comes second to the cursor makes nothing of them."""
    made_project(world_on_each, "Twice")
    world_on_each.publish()
    project = world_on_each.hub.get("/projects/Twice").json["id"]
    with connection(), write_tx():
        for _ in range(60):
            record("project.update", f"project:{project}", actor="system", project=project, detail={"name": "Twice"})
    begin = threading.Barrier(3)

    def node():
        begin.wait()
        with connection():
            until(lambda: not make_events(world_on_each.origin[0], 7, lambda: None) and not behind(), "not made")

    nodes = [threading.Thread(target=node) for _ in range(3)]
    for each in nodes:
        each.start()
    for each in nodes:
        each.join(60)
    with connection():
        source = world_on_each.origin[0].source(project)
        found = IntegrationEvent.select(IntegrationEvent.sequence).where(IntegrationEvent.source == source)
        assert sorted(row.sequence for row in found) == list(range(1, 62))


def behind():
    return Event.select(fn.MAX(Event.seq)).scalar() > EventCursor.get_by_id(1).made
