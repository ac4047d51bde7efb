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
