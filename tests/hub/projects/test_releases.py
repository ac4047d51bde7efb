"""Releases: frozen, sealed, numbered."""

import json

import pytest

from hub.errors import Conflict, Invalid, SealBroken
from hub.projects import projects, releases, variables
from hub.projects.process import StepBody
from hub.projects.variables import VariableBody
from hub.storage.database import write_tx
from hub.storage.models import Project, Release, Variable
from tests.fakes.api_hub import KINDS
from tests.fakes.feed import Feed, zip_of
from tests.fakes.installed_hub import installed_hub


@pytest.fixture
def hub(tmp_path):
    with installed_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
def project(hub):
    with write_tx():
        row = projects.create(hub.acting(), "Storefront")
        steps = [
            StepBody(name="Web", kind="deploy-package", roles=["web"], package="storefront"),
            StepBody(name="Check", kind="run-script", roles=["web"], script="true"),
        ]
        return projects.set_process(hub.acting(), row, steps, KINDS, if_version=0)


@pytest.fixture
def feed(hub):
    feed = Feed(hub)
    for version in ("1.0.0", "1.1.0", "2.0.0-beta.1"):
        feed.push(f"storefront.{version}.zip", zip_of(index=version.encode()))
    return feed


def create(hub, project, version=None, **packages):
    with write_tx():
        return releases.create(hub.acting(), Project.get_by_id(project.id), version=version, packages=packages)


def test_a_release_is_not_touched_by_what_happens_to_its_project_afterwards(hub, project, feed):
    with write_tx():
        variables.set_value(hub.acting(), project, VariableBody(name="Colour", value="red"))
    frozen = create(hub, project, "1.0.0", storefront="1.0.0")
    before = releases.read_snapshot(hub.acting(), frozen)
    with write_tx():
        variables.set_value(hub.acting(), project, VariableBody(name="Colour", value="blue"))
        projects.set_process(hub.acting(), project, [], KINDS, if_version=0)
    after = releases.read_snapshot(hub.acting(), Release.get_by_id(frozen.id))
    assert after == before
    assert [step["name"] for step in after["process"]] == ["Web", "Check"]
    assert [(found["name"], found["value"]) for found in after["variables"]] == [("Colour", "red")]
    assert after["packages"]["storefront"]["version"] == "1.0.0"


def test_a_snapshot_names_a_secret_and_never_holds_its_value(hub, project, feed):
    with write_tx():
        row = variables.set_value(hub.acting(), project, VariableBody(name="Token", value="canary-1", secret=True))
    frozen = create(hub, project)
    (found,) = json.loads(frozen.snapshot)["variables"]
    assert (found["id"], found["value"], found["secret"]) == (row.id, None, True)
    assert b"canary-1" not in frozen.snapshot


def test_numbers_come_from_the_package_then_from_the_newest_release(hub, project, feed):
    assert create(hub, project).version == "2.0.0-beta.1"
    assert create(hub, project).version == "2.0.1"
    assert create(hub, project, storefront="1.0.0").version == "1.0.0"
    assert create(hub, project, storefront="1.0.0").version == "2.0.2"


def test_a_version_is_taken_once_and_must_be_one(hub, project, feed):
    create(hub, project, "3.0.0")
    with pytest.raises(Conflict, match=r"3\.0\.0 already"):
        create(hub, project, "3.0.0")
    with pytest.raises(Invalid, match="version"):
        create(hub, project, "v3")


def test_a_package_that_nobody_uses_or_has_is_refused_by_name(hub, project, feed):
    for packages in ({"backoffice": "1.0.0"}, {"storefront": "9.9.9"}):
        with pytest.raises(Invalid) as refused:
            create(hub, project, **packages)
        assert refused.value.field == f"packages.{next(iter(packages))}"


def test_a_project_without_steps_has_no_release(hub):
    with write_tx():
        empty = projects.create(hub.acting(), "Empty")
    with pytest.raises(Invalid, match="no steps"):
        create(hub, empty)


def test_a_process_or_variable_that_was_changed_behind_the_hub_is_never_frozen(hub, project, feed):
    with write_tx():
        row = variables.set_value(hub.acting(), project, VariableBody(name="Colour", value="red"))
        Variable.update(value="evil").where(Variable.id == row.id).execute()
    with pytest.raises(SealBroken):
        create(hub, project)
    with write_tx():
        Variable.delete().execute()
        stored = Project.get_by_id(project.id)
        Project.update(process=[*stored.process, stored.process[1] | {"name": "Evil"}]).execute()
    with pytest.raises(SealBroken):
        create(hub, project)


def test_a_snapshot_that_was_changed_is_not_read(hub, project, feed):
    frozen = create(hub, project)
    frozen.snapshot = frozen.snapshot.replace(b'"true"', b'"evil"')
    with pytest.raises(Conflict, match="not what was frozen"):
        releases.read_snapshot(hub.acting(), frozen)
