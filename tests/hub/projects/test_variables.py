"""Variables in their rows: sealed, replaced, explained."""

import pytest

from hub.errors import Conflict, FieldDamaged, Invalid, NotAllowed
from hub.projects import projects, variables
from hub.projects.variables import VariableBody
from hub.storage.database import write_tx
from hub.storage.models import Environment, Variable, VariableSet
from runner.contract.variables import Context
from tests.fakes.installed_hub import installed_hub


@pytest.fixture
def hub(tmp_path):
    with installed_hub(tmp_path) as hub, write_tx():
        yield hub


@pytest.fixture
def project(hub):
    return projects.create(hub.acting(), "Storefront")


def body(**fields):
    return VariableBody.model_validate({"name": "Colour"} | fields)


def test_a_secret_is_sealed_in_its_row_and_opened_by_the_engine_alone(hub, project):
    row = variables.set_value(hub.acting(), project, body(value="crimson", secret=True))
    stored = Variable.get_by_id(row.id)
    assert (stored.value, "crimson" in stored.value_sealed) == ("", False)
    hub.seals.check(stored)
    assert variables.open_secret(hub.acting(), stored).reveal() == "crimson"
    with pytest.raises(NotAllowed):
        variables.open_secret(type("Portal", (), {"vault": hub.portal})(), stored)


def test_a_changed_secret_gets_a_new_version_and_the_old_ciphertext_opens_no_more(hub, project):
    first = variables.set_value(hub.acting(), project, body(value="crimson", secret=True))
    old = first.value_sealed
    second = variables.set_value(hub.acting(), project, body(value="scarlet", secret=True))
    assert (second.id, second.value_version) == (first.id, 2)
    second.value_sealed = old
    with pytest.raises(FieldDamaged):
        variables.open_secret(hub.acting(), second)


def test_a_secret_without_a_value_keeps_the_one_it_has_and_needs_one_at_first(hub, project):
    with pytest.raises(Invalid, match="no value yet"):
        variables.set_value(hub.acting(), project, body(secret=True))
    row = variables.set_value(hub.acting(), project, body(value="crimson", secret=True))
    kept = variables.set_value(hub.acting(), project, body(secret=True, description="of the wall"))
    assert (kept.id, kept.value_version) == (row.id, 1)
    assert variables.open_secret(hub.acting(), Variable.get_by_id(row.id)).reveal() == "crimson"


def test_a_secret_that_becomes_plain_shows_nothing_of_what_it_was(hub, project):
    variables.set_value(hub.acting(), project, body(value="crimson", secret=True))
    with pytest.raises(ValueError, match="expected a value"):
        body()
    row = variables.set_value(hub.acting(), project, body(value="green"))
    assert (row.value, row.value_sealed, row.secret) == ("green", None, False)


def test_a_short_secret_is_refused_since_it_cannot_be_masked():
    with pytest.raises(ValueError, match="at least 4"):
        body(value="abc", secret=True)


def test_two_values_of_one_name_and_scope_are_one_value(hub, project):
    acting = hub.acting()
    Environment.create(name="Test")
    first = variables.set_value(acting, project, body(value="red"))
    other = variables.set_value(acting, project, body(value="blue", scope={"environments": ["Test"]}))
    assert variables.set_value(acting, project, body(name="COLOUR", value="green")).id == first.id
    with pytest.raises(Conflict, match="already"):
        variables.change(acting, project, other, body(value="x"), 0)


def test_the_project_wins_over_its_sets_and_the_first_set_over_the_second(hub, project):
    acting = hub.acting()
    rows = [VariableSet.create(name=name) for name in ("Near", "Far")]
    projects.include_sets(project, ["Near", "Far"])
    for row, value in zip(rows, ("near", "far"), strict=True):
        variables.set_value(acting, row, body(value=value))
    found = variables.explain(project, "colour", Context())
    assert (found.winner.value, [row.value for row, _ in found.losers]) == ("near", ["far"])
    assert found.losers[0][1] == "set Far gives way to set Near"
    variables.set_value(acting, project, body(value="own"))
    assert variables.explain(project, "Colour", Context()).winner.value == "own"
    projects.include_sets(project, ["Far", "Near"])
    assert [name for _, name, _ in variables.reachable(project)] == ["project", "set Far", "set Near"]


def test_replacing_all_removes_what_is_not_named(hub, project):
    acting = hub.acting()
    variables.set_value(acting, project, body(name="Old", value="x"))
    kept = variables.set_value(acting, project, body(value="red"))
    variables.replace_all(acting, project, [body(value="red"), body(name="New", value="y")])
    assert [row.name for row in variables.of(project)] == ["Colour", "New"]
    assert Variable.get_by_id(kept.id).version == 1
    with pytest.raises(Invalid, match="twice"):
        variables.replace_all(acting, project, [body(value="1"), body(value="2")])
