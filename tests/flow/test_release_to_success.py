"""A release travels through portal, engine, broker, spoke and runner, and comes back as a log and a state."""

import json

import pytest

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


def test_a_release_is_deployed_and_its_log_comes_back(whole, application):
    name = application("Shop")
    done = whole.run("manyarm", "deploy", name, "--release", "1.0.0", "--to", "Test", "--watch")
    assert done.returncode == 0, done.stderr
    site = whole.spoke_home("web-1") / "sites" / "Shop" / "current"
    assert (site / "index.html").read_text() == "<p>Hello from Test 1.0.0</p>\n"
    assert json.loads((site / "settings.json").read_text()) == {"Greeting": "Hello from Test"}
    assert "web-1 | <p>Hello from Test 1.0.0</p>" in done.stdout
    assert "web-1 | seen: Hello from Test" in done.stdout


def test_a_secret_arrives_and_never_stands_in_a_log(whole, application):
    name = application("Vaulted")
    done = whole.run("manyarm", "deploy", name, "--release", "1.0.0", "--to", "Test", "--watch")
    assert "token ***" in done.stdout
    assert "s3cret-flow-token" not in done.stdout + done.stderr


def test_a_release_goes_to_the_next_phase_after_the_first_and_not_before(whole, application):
    name = application("Phased")
    early = whole.run("manyarm", "deploy", name, "--release", "1.0.0", "--to", "Live")
    assert early.returncode == 2
    assert "may not go to Live yet" in early.stderr
    whole.manyarm("deploy", name, "--release", "1.0.0", "--to", "Test", "--watch")
    whole.manyarm("deploy", name, "--release", "1.0.0", "--to", "Live", "--watch")


def test_the_plan_is_shown_and_nothing_moves(whole, application):
    name = application("Planned")
    plan = json.loads(whole.manyarm("deploy", name, "--release", "1.0.0", "--to", "Test", "--plan", "--json"))["plan"]
    assert [step["name"] for step in plan["steps"]] == ["Install", "Look", "Tell"]
    assert plan["steps"][0]["targets"][0]["variables"]["ApiToken"] == "***"
    assert whole.json("task", "list", "--project", name, "--json") == []


def test_a_failing_step_fails_the_task_and_says_where(whole):
    done = whole.run("manyarm", "run", "--to", "web-1", "--", "echo before; exit 7")
    assert done.returncode == 1
    assert "web-1 | before" in done.stdout
    task = whole.json("task", "list", "--limit", "1", "--json")[0]
    assert task["state"] == "failed"
    assert whole.json("task", "show", task["id"], "--json")["steps"][0]["targets"][0]["exit_code"] == 7


def test_a_cancel_ends_the_script_and_says_so(whole):
    task = whole.manyarm("run", "--detach", "--to", "web-1", "--", "echo started; sleep 300").strip()
    from tests.services.whole import until

    until(lambda: "started" in whole.manyarm("task", "logs", task), "the script did not start")
    whole.manyarm("task", "cancel", task, "--watch")
    shown = whole.json("task", "show", task, "--json")
    assert shown["state"] == "cancelled"
    assert shown["steps"][0]["targets"][0]["state"] == "cancelled"


def test_a_second_version_sends_only_what_is_new(whole, application, tmp_path):
    from tests.flow.conftest import archive

    application("Grown")
    body = "".join(f"line {number} of a file that hardly changes\n" for number in range(20_000))
    archive(tmp_path / "grown.2.0.0.tar", {"a.txt": body})
    archive(tmp_path / "grown.2.0.1.tar", {"a.txt": body.replace("line 10000 ", "line ten thousand ")})
    whole.manyarm("package", "push", str(tmp_path / "grown.2.0.0.tar"))
    second = json.loads(whole.manyarm("package", "push", str(tmp_path / "grown.2.0.1.tar"), "--json"))[0]
    assert 0 < second["bytes_new"] < second["size"] / 4
