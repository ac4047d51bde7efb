"""Steps as people write them, and their one normal form."""

import pytest
from pydantic import ValidationError

from hub.projects.process import ProcessMalformed, StepBody, as_written, duration_s, normal_form, packages_of
from tests.fakes.api_hub import KINDS

SCRIPT = {"name": "Check", "kind": "run-script", "roles": ["web"], "script": "true"}
DEPLOY = {"name": "Web", "kind": "deploy-package", "roles": ["web"], "package": "storefront"}


def form(*steps):
    return normal_form([StepBody.model_validate(step) for step in steps], KINDS, lambda ref: f"id of {ref}")


def test_script_and_timeout_beside_the_name_become_property_and_seconds():
    (step,) = form(SCRIPT | {"timeout": "5m", "shell": "python", "environments": ["Test"]})
    assert (step["properties"]["script"], step["properties"]["shell"], step["timeout_s"]) == ("true", "python", 300)
    assert step["environments"] == ["id of Test"]
    assert (step["when"], step["on"], step["rolling"], step["retries"]) == ("success", "targets", None, 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("90s", 90), ("1h30m", 5400), ("2h", 7200), ("5", 0), ("5d", 0)]
)
def test_a_span_is_read(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"kind": "run-scrpt"}, "0.kind", "no step kind"),
        ({"roles": []}, "0.roles", "needs a role"),
        ({"package": "storefront"}, "0.package", "takes no package"),
        ({"properties": {"scrpt": "x"}}, "0.properties.scrpt", "takes no such property"),
        ({"properties": {"script": "x"}}, "0.script", "once"),
        ({"script": None}, "0.properties.script", "needs it"),
        ({"shell": "zsh"}, "0.properties.shell", "expected one of"),
    ],
)
def test_a_step_that_no_kind_takes_is_refused_and_its_field_is_named(change, field, words):
    with pytest.raises(ProcessMalformed, match=words) as refused:
        form(SCRIPT | change)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("kind", "properties", "field", "words"),
    [
        ("http-check", {}, "url", "needs it: What is asked"),
        ("http-check", {"url": "http://x/", "method": "BREW"}, "method", "expected one of GET, HEAD"),
        ("http-check", {"url": "http://x/", "within_s": -1}, "within_s", "expected 1 or more"),
        ("http-check", {"url": "http://x/", "within_s": "60"}, "within_s", "expected a whole number"),
        ("http-check", {"url": "http://x/", "expect_status": [200]}, "expect_status", "a number becomes one in quotes"),
        ("http-check", {"url": "http://x/", "expect_staus": ["200"]}, "expect_staus", "takes no such property"),
        ("sql-migrations", {"database": "/srv/x.db"}, "engine", "needs it"),
        (
            "sql-migrations",
            {"database": "x", "engine": "oracle"},
            "engine",
            "expected one of sqlite, postgresql, mysql",
        ),
        ("transfer-package", {"to": "/srv", "existing": "keep"}, "existing", "expected one of replace, fail"),
    ],
)
def test_a_kind_is_held_to_what_it_declares(kind, properties, field, words):
    package = {"package": "storefront"} if kind == "transfer-package" else {}
    with pytest.raises(ProcessMalformed, match=words) as refused:
        form({"name": "A step", "kind": kind, "roles": ["web"], "properties": properties, **package})
    assert refused.value.field == f"0.properties.{field}"


def test_a_step_has_a_package_or_not_as_its_kind_says():
    migrate = {
        "name": "Migrate",
        "kind": "sql-migrations",
        "roles": ["db"],
        "properties": {"engine": "sqlite", "database": "/x"},
    }
    assert packages_of(form(migrate, migrate | {"name": "Again", "package": "storefront"})) == ["storefront"]
    with pytest.raises(ProcessMalformed, match="takes no package"):
        form(
            {"name": "Ask", "kind": "http-check", "roles": ["web"], "package": "x", "properties": {"url": "http://x/"}}
        )


@pytest.mark.parametrize(
    "change",
    [
        {"rolling": 0},
        {"rolling": "0%"},
        {"rolling": "101%"},
        {"rolling": "half"},
        {"timeout": "soon"},
        {"timeout": "25h"},
        {"timeout": 5, "timeout_s": 5},
        {"when": "maybe"},
        {"retries": 11},
        {"on": "moon"},
        {"unknown": 1},
    ],
)
def test_a_field_that_is_no_such_field_is_refused(change):
    with pytest.raises(ValidationError):
        StepBody.model_validate(SCRIPT | change)


def test_a_package_is_needed_where_the_kind_needs_one():
    with pytest.raises(ProcessMalformed, match="needs a package"):
        form({key: value for key, value in DEPLOY.items() if key != "package"})
    assert packages_of(form(DEPLOY, SCRIPT, DEPLOY | {"name": "Web again"})) == ["storefront"]


def test_two_steps_of_one_name_are_refused_whatever_the_case():
    with pytest.raises(ProcessMalformed, match="two steps"):
        form(SCRIPT, SCRIPT | {"name": "CHECK"})


def test_what_is_written_back_has_the_same_normal_form():
    steps = form(
        SCRIPT | {"timeout": "5m", "retries": 2, "when": "always", "rolling": "25%"},
        DEPLOY | {"properties": {"install_to": "/srv/x"}, "isolation": "web"},
        {"name": "Hub", "kind": "run-script", "on": "hub", "script": "id", "on_unknown": "retry"},
    )
    written = [as_written(step, lambda found: found.removeprefix("id of ")) for step in steps]
    assert written[0]["timeout"] == "300s"
    assert "on" not in written[0]
    assert form(*written) == steps
