"""`manyarm queue` against a portal that answers: what waits and why, in a table; pause, resume, priority."""

import json

import pytest
from click.testing import CliRunner

from hub.cli.__main__ import manyarm
from tests.fakes.portal_hub import running_portal


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """A function that runs a command line; its status and what it printed."""
    with running_portal(tmp_path_factory.mktemp("hub")) as portal:
        portal.tell_story()
        with portal.served() as address:
            environ = {"MANYARM_URL": address, "MANYARM_API_KEY": portal.api.key}

            def run(*words, status=0):
                done = CliRunner(env=environ).invoke(manyarm, list(words))
                assert done.exit_code == status, done.output
                return done

            yield run


def test_the_queue_is_paused_listed_put_in_order_and_resumed(typed):
    assert typed("queue", "pause", "--project", "storefront", "--reason", "an audit").output == (
        "project Storefront is paused\n"
    )
    deploy = ("deploy", "storefront", "--release", "1.0.0", "--to", "Development", "--json")
    task = json.loads(typed(*deploy, "--priority", "low").output)["task"]
    listed = typed("queue", "list")
    assert "project Storefront is paused by root since" in listed.stderr
    assert listed.stderr.strip().endswith(": an audit")
    words = listed.stdout.strip().split("\t")
    assert (words[0], words[2]) == (task, "low")
    assert words[4].startswith("project Storefront is paused by root since")
    assert typed("queue", "priority", task, "urgent").output == f"task {task}: urgent\n"
    assert json.loads(typed("queue", "list", "--json").output)["items"][0]["priority"] == "urgent"
    assert typed("queue", "resume", "--project", "storefront").output == "project Storefront goes on\n"
    assert "nothing is paused there" in typed("queue", "resume", status=2).output


def test_a_priority_that_is_none_is_a_usage_error(typed):
    assert "Invalid value" in typed("queue", "priority", "0" * 32, "highest", status=2).output


def test_whoever_watches_a_deployment_is_told_why_it_waits(typed):
    typed("queue", "pause", "--environment", "Development", "--reason", "an audit")
    watched = typed(
        "deploy", "storefront", "--release", "1.0.0", "--to", "Development", "--watch", "--timeout", "1", status=6
    )
    assert "environment Development is paused by root since" in watched.stderr
    assert watched.stderr.count("is paused by root") == 1
    typed("queue", "resume", "--environment", "Development")
