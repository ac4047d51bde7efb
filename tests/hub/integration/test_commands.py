"""What is asked over AMQP is judged as a request over REST is, done once, answered, and refused with reasons."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from hub.integration.commands import MAX_DELIVERIES
from hub.integration.dead_letters import KEY as DEAD_KEY
from hub.storage.database import connection, write_tx
from hub.storage.models import Event, IntegrationCommand, Task
from tests.fakes.json_schema import faults
from wire import integration_topology as topology

SCOPES = ["deployment.create", "task.cancel"]


@pytest.fixture(scope="module")
def ready(world_on_each):
    """A project `Shop` with release 1.0.0 and the environments Test and Live; Live comes after Test."""
    hub = world_on_each.hub
    hub.add_runner()
    applied = hub.post(
        "/apply",
        {
            "documents": [
                {"kind": "Environment", "name": "Test"},
                {"kind": "Environment", "name": "Live"},
                {
                    "kind": "Lifecycle",
                    "name": "Straight",
                    "phases": [{"name": "Try", "environments": ["Test"]}, {"name": "Go", "environments": ["Live"]}],
                },
                {
                    "kind": "Project",
                    "name": "Shop",
                    "lifecycle": "Straight",
                    "process": [{"name": "Say", "kind": "run-script", "roles": ["web"], "script": "true"}],
                },
            ]
        },
    )
    assert applied.status_code == 200, applied.text
    hub.add_target("web-1", roles=("web",), environments=("Test", "Live"))
    assert hub.post("/releases", {"project": "Shop", "version": "1.0.0"}).status_code == 201
    return world_on_each


@pytest.fixture(scope="module")
def crm(ready):
    """A program that may command, in the name of a deployer."""
    token = ready.hub.as_user("crm", "deployer", scopes=SCOPES)
    return ready.program("CRM", commands=True, token=token)


def order(**changes):
    return {"project": "Shop", "release": "1.0.0", "environment": "Test"} | changes


def tasks():
    with connection():
        return Task.select().count()


def only_dead_letter(world):
    (letter,) = world.dead_letters(1)
    return letter


def test_a_deployment_is_requested_and_cancelled_as_over_rest(ready, crm):
    made = crm.ask("deployment.request", order())
    assert (made["outcome"], made["duplicate"], made["code"]) == ("accepted", False, None)
    found = ready.hub.get(f"/deployments/{made['deployment']}").json
    assert (found["task"], found["release"], found["environment"]) == (made["task"], "1.0.0", "Test")
    with connection():
        recorded = Event.select().where(Event.object == f"deployment:{made['deployment']}").get()
        assert (recorded.action, recorded.actor) == ("deployment.create", f"user:{ready.hub.users['crm'].id}")
    stopped = crm.ask("deployment.cancel", {"deployment": made["deployment"]})
    assert (stopped["outcome"], stopped["task"], stopped["deployment"]) == (
        "accepted",
        made["task"],
        made["deployment"],
    )
    assert ready.hub.get(f"/tasks/{made['task']}").json["state"] in {"cancelling", "cancelled"}


def test_an_answer_is_as_its_schema_says_and_names_what_it_answers(ready, crm):
    crm.send("deployment.request", order(), id="order-7")
    ready.work_commands(1)
    (answer,) = crm.take(crm.answers, 1)
    event = json.loads(answer.body)
    described = ready.hub.get("/integration/asyncapi.json").json
    assert "answers" in described["channels"]
    assert faults(ready.hub.get("/integration/schemas/command.answered.v1", key="").json, event) == []
    assert (event["data"]["command"], event["correlationid"]) == ("order-7", "order 7")
    assert (answer.properties.correlation_id, answer.user_id) == ("order 7", "hub")


def test_a_command_that_is_as_its_schema_says_is_taken_and_one_that_is_not_is_not(ready, crm):
    schema = ready.hub.get("/integration/schemas/deployment.request.v1", key="").json
    event = {
        "specversion": "1.0", "id": "1", "source": "/crm", "type": "org.manyarm.deployment.request.v1",
        "idempotencykey": "k", "data": order(variables={"Colour": "red"}, only_targets=["web-1"], skip_steps=[]),
    }  # fmt: skip
    assert faults(schema, event) == []
    assert faults(schema, event | {"data": {"project": "Shop"}})
    assert faults(schema, {name: value for name, value in event.items() if name != "idempotencykey"})
    assert crm.ask("deployment.request", event["data"])["outcome"] == "accepted"


def test_the_same_key_is_answered_alike_and_acts_once(ready, crm):
    before = tasks()
    first = crm.ask("deployment.request", order(), idempotency_key="order-8")
    again = crm.ask("deployment.request", order(), idempotency_key="order-8")
    assert again == first | {"duplicate": True, "command": again["command"]}
    assert tasks() == before + 1
    other = crm.ask("deployment.request", order(environment="Live"), idempotency_key="order-8")
    assert (other["outcome"], other["code"], other["field"]) == ("refused", "IDEMPOTENCY_KEY_REUSED", "idempotencykey")
    assert tasks() == before + 1
    assert only_dead_letter(ready).properties.headers["manyarm_code"] == "IDEMPOTENCY_KEY_REUSED"


def test_a_key_counts_for_its_person_alone(ready, crm):
    first = crm.ask("deployment.request", order(), idempotency_key="mine")
    token = ready.hub.as_user("somebody else", "deployer", scopes=SCOPES)
    second = crm.ask("deployment.request", order(), idempotency_key="mine", token=token)
    assert (second["duplicate"], second["deployment"] == first["deployment"]) == (False, False)


def test_a_command_that_was_done_and_not_acknowledged_is_answered_again_and_done_once(ready, crm):
    """kill -9 of the hub between its commit and its acknowledgement: the broker delivers again."""
    before = tasks()
    crm.send("deployment.request", order())
    link = ready.side.connection
    subscription = link.consume(topology.HUB_COMMANDS, prefetch=1)
    (delivery,) = subscription.take(1, 30)
    ready.desk.handle(link, delivery)
    subscription.close()
    ready.work_commands(1)
    first, second = (json.loads(answer.body)["data"] for answer in crm.take(crm.answers, 2))
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert (first["deployment"], tasks()) == (second["deployment"], before + 1)


def test_what_the_rules_refuse_is_refused_here_too_and_audited(ready, crm):
    refused = crm.ask("deployment.request", order(environment="Live"))
    assert (refused["outcome"], refused["code"], refused["field"]) == ("refused", "NOT_YET", "environment")
    letter = only_dead_letter(ready)
    assert (letter.key, letter.properties.headers["manyarm_code"]) == (DEAD_KEY, "NOT_YET")
    assert letter.properties.headers["manyarm_user"] == crm.user
    with connection():
        recorded = Event.select().order_by(Event.seq.desc()).get()
    assert (recorded.action, recorded.outcome, recorded.object) == (
        "deployment.create",
        "refused",
        f"consumer:{crm.id}",
    )


def test_a_command_past_its_time_is_not_begun(ready, crm):
    before, past = tasks(), (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    late = crm.ask("deployment.request", order(), expirytime=past)
    assert (late["outcome"], late["code"], tasks()) == ("expired", "EXPIRED", before)
    assert only_dead_letter(ready).properties.headers["manyarm_code"] == "EXPIRED"
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert crm.ask("deployment.request", order(), expirytime=future)["outcome"] == "accepted"


CASES = {
    "no JSON": ({"body": b"{"}, "NOT_JSON"),
    "two of a key": ({"body": b'{"id": "1", "id": "2"}'}, "NOT_JSON"),
    "a list": ({"body": b"[]"}, "NOT_JSON"),
    "no envelope": ({"body": b"{}"}, "INVALID"),
    "another version": ({"specversion": "0.3"}, "INVALID"),
    "no such type": ({"type": "org.manyarm.project.delete.v1"}, "UNKNOWN_TYPE"),
    "a type under another key": ({"key": "deployment.cancel"}, "ROUTING_KEY"),
    "a field that nobody knows": ({"data": order(sudo=True)}, "INVALID"),
    "a field missing": ({"data": {"project": "Shop"}}, "INVALID"),
    "no time": ({"expirytime": "tomorrow"}, "INVALID"),
    "a time without a zone": ({"expirytime": "2031-01-01T00:00:00"}, "INVALID"),
    "no token": ({"token": ""}, "NOT_SIGNED_IN"),
    "a made-up token": ({"token": "mak_00000000_" + "A" * 43 + "_00000000"}, "NOT_SIGNED_IN"),
    "too large": ({"body": b'{"id": "' + b"x" * 70_000 + b'"}'}, "TOO_LARGE"),
}


@pytest.mark.parametrize(("options", "code"), CASES.values(), ids=CASES.keys())
def test_a_malformed_one_is_answered_and_lies_with_the_dead_letters(ready, crm, options, code):
    before = tasks()
    options = dict(options)
    answer = crm.ask("deployment.request", options.pop("data", order()), **options)
    assert (answer["outcome"], answer["code"], tasks()) == ("refused", code, before)
    letter = only_dead_letter(ready)
    assert letter.properties.headers["manyarm_code"] == code
    assert letter.properties.headers["manyarm_detail"]


def test_without_the_right_media_type_nobody_knows_where_to_answer(ready, crm):
    crm.send("deployment.request", order(), content_type="application/json")
    ready.work_commands(1)
    assert only_dead_letter(ready).properties.headers["manyarm_code"] == "PROPERTIES"


def test_an_answer_goes_to_no_queue_but_the_askers_own(ready, crm):
    before = tasks()
    victim = ready.program()
    for queue in (victim.answers, topology.HUB_COMMANDS, "anything"):
        crm.send("deployment.request", order(), reply_to=queue)
        ready.work_commands(1)
        assert only_dead_letter(ready).properties.headers["manyarm_code"] == "REPLY_TO"
    assert tasks() == before


def test_whoever_wants_no_answer_is_served_without_one(ready, crm):
    before = tasks()
    crm.send("deployment.request", order(), reply_to="")
    ready.work_commands(1)
    assert tasks() == before + 1


def test_a_dead_letter_shows_neither_token_nor_values(ready, crm):
    crm.send("deployment.request", order(environment="Nowhere", variables={"Pin": "canary-7"}), note=crm.token)
    ready.work_commands(1)
    crm.send("deployment.request", {}, body=b"{ broken " + crm.token.encode())
    ready.work_commands(1)
    crm.take(crm.answers, 2)
    for letter in ready.dead_letters(2):
        everything = letter.body.decode() + json.dumps(dict(letter.properties.headers))
        assert crm.token not in everything
        assert crm.token[13:56] not in everything
        assert "canary-7" not in everything
    with connection():
        assert all(crm.token.encode() not in bytes(row.answer_sealed) for row in IntegrationCommand.select())


def test_answers_are_forgotten_after_a_month_and_not_before(ready, crm):
    crm.ask("deployment.request", order(), idempotency_key="old")
    with connection():
        assert ready.desk.tidy() == 0
        with write_tx():
            IntegrationCommand.update(at=1).where(IntegrationCommand.idempotency_key == "old").execute()
        assert ready.desk.tidy() == 1


def test_a_message_at_which_the_hub_dies_again_and_again_is_laid_aside(ready, crm):
    """The broker counts deliveries; what it counts is not believed below the limit, and acted on above."""
    crm.send("deployment.request", order())
    before = tasks()
    link = ready.side.connection
    for _ in range(MAX_DELIVERIES):
        subscription = link.consume(topology.HUB_COMMANDS, prefetch=1)
        (delivery,) = subscription.take(1, 30)
        subscription.reject(delivery, requeue=True)
        subscription.close()
    ready.work_commands(1)
    assert only_dead_letter(ready).properties.headers["manyarm_code"] == "POISON"
    assert tasks() == before
