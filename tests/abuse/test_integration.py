"""Integrations: what a consumer's account is kept from at the broker, and what a token is worth that came that way."""

import json
import secrets
from collections.abc import Iterator

import pytest

from hub.access import api_keys, users
from hub.storage.database import connection, write_tx
from hub.storage.models import ALL_TABLES, ApiKey, Consumer, Task, now_ms
from tests.fakes.integration_world import IntegrationWorld, integration_world, url_in
from tests.services.rabbitmq import Broker
from wire import integration_topology as integrations
from wire import topology
from wire.amqp.attempts import Attempts
from wire.errors import ConnectionLost

pytestmark = pytest.mark.rabbitmq

SCOPES = ["deployment.create", "task.cancel"]
ORDER = {"project": "Shop", "release": "1.0.0", "environment": "Test"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, broker_node: Broker) -> Iterator[IntegrationWorld]:
    with integration_world(tmp_path_factory.mktemp("world"), broker_node) as made:
        made.hub.add_runner()
        documents = [
            {"kind": "Environment", "name": "Test"},
            {"kind": "Lifecycle", "name": "Straight", "phases": [{"name": "Try", "environments": ["Test"]}]},
            {
                "kind": "Project",
                "name": "Shop",
                "lifecycle": "Straight",
                "process": [{"name": "Say", "kind": "run-script", "roles": ["web"], "script": "true"}],
            },
        ]
        assert made.hub.post("/apply", {"documents": documents}).status_code == 200
        made.hub.add_target("web-1", roles=("web",), environments=("Test",))
        assert made.hub.post("/releases", {"project": "Shop", "version": "1.0.0"}).status_code == 201
        yield made


@pytest.fixture(scope="module")
def crm(world):
    return world.program("crm", commands=True, token=world.hub.as_user("crm", "deployer", scopes=SCOPES))


def begun():
    with connection():
        return Task.select().count()


def test_t037_a_consumer_reads_its_own_queues_and_writes_commands_and_nothing_else(world, crm):
    other = world.program(commands=True)
    url = url_in(world.node, crm.user, crm.password)
    foreign = [*(queue.name for queue in integrations.consumer_topology(other.id).queues)]
    foreign += [integrations.HUB_COMMANDS, integrations.HUB_DEAD]
    with Attempts(url) as attempts:
        assert attempts.get(integrations.events_queue(crm.id)).allowed
        assert attempts.publish(integrations.COMMANDS, integrations.REQUEST_KEY, user_id=crm.user).allowed
        world.work_commands(1)
        world.dead_letters(1)
        refused = {
            **{f"read {queue}": attempts.get(queue) for queue in foreign},
            **{f"consume {queue}": attempts.consume(queue) for queue in foreign},
            **{f"purge {queue}": attempts.purge(queue) for queue in foreign},
            **{f"delete {queue}": attempts.delete_queue(queue) for queue in (*foreign, crm.answers)},
            **{f"write to {queue}": attempts.publish("", queue) for queue in (*foreign, crm.answers)},
            "write an event": attempts.publish(integrations.EVENTS, "default._._.deployment.succeeded"),
            "write a dead letter": attempts.publish(integrations.DEAD, "x"),
            "write another command": attempts.publish(integrations.COMMANDS, "project.delete"),
            "write as another": attempts.publish(integrations.COMMANDS, integrations.REQUEST_KEY, user_id=other.user),
            "hear more": attempts.bind(integrations.events_queue(crm.id), integrations.EVENTS, "#"),
            "hear commands": attempts.bind(crm.answers, integrations.COMMANDS, "#"),
            "make a queue": attempts.declare_queue(f"consumer.{crm.id}.more"),
            "make a nameless queue": attempts.declare_queue(""),
            "make an exchange": attempts.declare_exchange("mine"),
            "remove the exchange": attempts.delete_exchange(integrations.EVENTS),
        }
    assert [what for what, answer in refused.items() if answer.allowed] == []
    for vhost in (topology.VHOST, "%2F"):
        with pytest.raises(ConnectionLost), Attempts(f"{url.rpartition('/')[0]}/{vhost}"):
            pass
    assert crm.ask("deployment.request", ORDER)["outcome"] == "accepted"


def test_t037_a_consumer_that_only_hears_writes_nothing(world):
    hearer = world.program(projects=["Shop"])
    with Attempts(url_in(world.node, hearer.user, hearer.password)) as attempts:
        assert not attempts.publish(integrations.COMMANDS, integrations.REQUEST_KEY).allowed
        assert not attempts.publish(integrations.EVENTS, "default.shop._.release.created").allowed


def test_t037_a_command_with_a_cc_header_reaches_nobody_else_and_is_refused(world, crm):
    other = world.program()
    before = begun()
    with Attempts(url_in(world.node, crm.user, crm.password)) as attempts:
        attempts.publish(
            integrations.COMMANDS,
            integrations.REQUEST_KEY,
            json.dumps({"specversion": "1.0"}).encode(),
            user_id=crm.user,
            headers={"CC": [other.answers, integrations.events_queue(other.id)]},
            content_type="application/cloudevents+json",
        )
    world.work_commands(1)
    assert world.dead_letters(1)[0].properties.headers["manyarm_code"] == "PROPERTIES"
    with Attempts(url_in(world.node, other.user, other.password)) as attempts:
        for queue in (other.answers, integrations.events_queue(other.id)):
            assert attempts.get(queue).said == "done"
    assert begun() == before


def test_t049_a_consumer_that_was_removed_is_out_and_what_it_had_sent_is_refused(world):
    gone = world.program(commands=True, token=world.hub.as_user("leaver", "deployer", scopes=SCOPES))
    before = begun()
    gone.send("deployment.request", ORDER)
    assert world.hub.delete(f"/integration/consumers/{gone.id}", headers={"If-Match": "*"}).status_code == 204
    # Its command was there before: its row is not trusted any more.
    world.work_commands(1)
    assert world.dead_letters(1)[0].properties.headers["manyarm_code"] == "NO_CONSUMER"
    assert begun() == before
    world.publish()
    with pytest.raises(ConnectionLost), Attempts(url_in(world.node, gone.user, gone.password)):
        pass
    left = world.admin.queues()
    assert [queue for queue in left if gone.id in queue] == []
    assert gone.user not in world.admin.users()
    assert all(found["id"] != gone.id for found in world.hub.get("/integration/consumers").json["items"])


def test_t157_a_token_reaches_as_far_as_its_scopes_and_its_owner_and_no_further(world, crm):
    """A deployer's key without the scope, a viewer's with it, and one whose owner may deploy elsewhere alone."""
    hub, before = world.hub, begun()
    with connection():
        elsewhere = hub.post("/environments", {"name": f"E{secrets.token_hex(3)}"}).json["id"]
    tokens = {
        "another scope": hub.as_user("narrow", "deployer", scopes=["task.cancel", "project.view"]),
        "no right": hub.as_user("looker", "viewer", scopes=[*SCOPES, "project.view"]),
        "elsewhere": hub.as_user("elsewhere", ("deployer", None, elsewhere), scopes=[*SCOPES, "project.view"]),
    }
    answers = {why: crm.ask("deployment.request", ORDER, token=token) for why, token in tokens.items()}
    assert {why: (answer["outcome"], answer["code"]) for why, answer in answers.items()} == dict.fromkeys(
        tokens, ("refused", "NOT_ALLOWED")
    )
    stranger = crm.ask("deployment.request", ORDER, token=hub.as_user("stranger", scopes=SCOPES))
    assert (stranger["outcome"], stranger["code"]) == ("refused", "NOT_FOUND")
    assert begun() == before
    world.dead_letters(4)


def test_t142_a_token_of_any_other_form_or_without_limits_opens_nothing(world, crm):
    right = crm.token
    whole = world.hub.as_user("whole", "deployer")
    ends = now_ms() + 9_000_000_000
    with connection(), write_tx():
        revoked_key, revoked = api_keys.new_api_key(
            world.hub.installed.seals, world.hub.users["whole"], "x", now_ms(), expires_at=ends, scopes=SCOPES
        )
        api_keys.revoke_api_key(world.hub.installed.seals, revoked_key, now_ms())
    before = begun()
    cases = {
        "lower-cased": (right.lower(), "NOT_SIGNED_IN"),
        "truncated": (right[:-1], "NOT_SIGNED_IN"),
        "with spaces": (f" {right} ", "NOT_SIGNED_IN"),
        "not ASCII": (right[:-1] + "ß", "NOT_SIGNED_IN"),
        "revoked": (revoked.reveal(), "NOT_SIGNED_IN"),
        "without limits": (whole, "TOKEN_NOT_SCOPED"),
    }
    for why, (token, code) in cases.items():
        answer = crm.ask("deployment.request", ORDER, token=token)
        assert (answer["outcome"], answer["code"]) == ("refused", code), why
    assert begun() == before
    world.dead_letters(len(cases))


def test_t150_a_person_who_is_locked_out_commands_nothing_from_that_moment_on(world, crm):
    token = world.hub.as_user("soon out", "deployer", scopes=SCOPES)
    assert crm.ask("deployment.request", ORDER, token=token)["outcome"] == "accepted"
    # Sent while it counted, read when it does not.
    crm.send("deployment.request", ORDER, token=token)
    with connection(), write_tx():
        users.disable_user(world.hub.installed.seals, world.hub.users["soon out"], now_ms())
    before = begun()
    world.work_commands(1)
    (answer,) = crm.take(crm.answers, 1)
    assert json.loads(answer.body)["data"]["code"] == "NOT_SIGNED_IN"
    assert begun() == before
    world.dead_letters(1)


def test_t151_a_token_past_its_end_commands_nothing(world, crm):
    token = world.hub.as_user("expiring", "deployer", scopes=SCOPES)
    with connection(), write_tx():
        row = ApiKey.get(ApiKey.user == world.hub.users["expiring"].id)
        row.expires_at = now_ms()
        world.hub.installed.seals.seal_end(row)
        row.save()
    assert crm.ask("deployment.request", ORDER, token=token)["code"] == "NOT_SIGNED_IN"
    world.dead_letters(1)


def test_t143_neither_tokens_nor_passwords_of_consumers_lie_in_the_database(world, crm):
    crm.ask("deployment.request", ORDER)
    with connection():
        dump = "\n".join(repr(row.__data__) for table in ALL_TABLES for row in table.select())
    for secret in (crm.password, crm.token, crm.token[13:56]):
        assert secret not in dump


def test_a_consumer_row_that_was_changed_outside_the_hub_gets_no_account_and_commands_nothing(world, crm):
    """Somebody who writes to the database makes a program that only hears into one that commands, for all projects."""
    victim = world.program(projects=["Shop"], token=crm.token)
    with connection(), write_tx():
        Consumer.update(commands=True, projects=None, state="wanted").where(Consumer.id == victim.id).execute()
    with connection():
        world.side.sweep()
    with Attempts(url_in(world.node, victim.user, victim.password)) as attempts:
        assert not attempts.publish(integrations.COMMANDS, integrations.REQUEST_KEY).allowed
    with connection(), write_tx():
        Consumer.delete().where(Consumer.id == victim.id).execute()
