"""`apply`: the whole file or nothing, and errors that say where."""

import pytest

FILE = [
    {"kind": "Environment", "name": "Dev"},
    {
        "kind": "Project",
        "name": "Shop",
        "variables": [{"name": "Token", "secret": True, "value": "hush-hush"}, {"name": "Colour", "value": "red"}],
        "process": [{"name": "Go", "kind": "run-script", "roles": ["web"], "script": "true"}],
    },
]


@pytest.fixture(scope="module")
def applied(api):
    assert api.post("/apply", {"documents": FILE}).status_code == 200
    return api


def changed(**fields):
    return [FILE[0], FILE[1] | fields]


def differences(api, documents, **options):
    answer = api.post("/apply", {"documents": documents} | options)
    assert answer.status_code == 200, answer.text
    return answer.json["differences"]


def test_a_plan_shows_what_would_change_and_changes_nothing(applied):
    wanted = changed(
        variables=[{"name": "Token", "secret": True, "value": "new-hush"}, {"name": "Colour", "value": "blue"}]
    )
    for _ in range(2):
        environment, project = differences(applied, wanted, plan_only=True)
        assert (environment["action"], project["action"]) == ("none", "update")
        assert [change["field"] for change in project["changes"]] == ["variables.Colour", "variables.Token"]
        assert "hush" not in str(project)
        assert project["changes"][0]["from"]["value"] == "red"


def test_a_plan_of_new_things_leaves_none_of_them(applied):
    new = [{"kind": "Environment", "name": "Ghost"}, {"kind": "Project", "name": "Ghost", "lifecycle": "Ghost"}]
    lifecycle = {"kind": "Lifecycle", "name": "Ghost", "phases": [{"name": "P", "environments": ["Ghost"]}]}
    found = differences(applied, [new[1], lifecycle, new[0]], plan_only=True)
    assert [one["action"] for one in found] == ["create"] * 3
    assert applied.get("/environments/Ghost").status_code == 404
    assert applied.get("/projects/ghost").status_code == 404


def test_a_secret_that_is_named_without_a_value_keeps_it(applied):
    kept = changed(variables=[{"name": "Token", "secret": True}, {"name": "Colour", "value": "red"}])
    assert [one["action"] for one in differences(applied, kept)] == ["none", "none"]


def test_what_is_left_out_of_a_document_stays_and_an_empty_list_empties(applied):
    differences(applied, [{"kind": "Project", "name": "Keeper", "variables": [{"name": "A", "value": "1"}]}])
    assert differences(applied, [{"kind": "Project", "name": "Keeper", "description": "x"}])[0]["action"] == "update"
    assert len(applied.get("/projects/keeper/variables").json["items"]) == 1
    differences(applied, [{"kind": "Project", "name": "Keeper", "variables": []}])
    assert applied.get("/projects/keeper/variables").json["items"] == []


@pytest.mark.parametrize(
    ("document", "field", "line", "words"),
    [
        ({"kind": "Projct", "name": "X"}, "/kind", 10, "did you mean 'Project'"),
        ({"kind": "Project", "name": "X", "proces": []}, "/proces", 12, "did you mean 'process'"),
        (
            {"kind": "Project", "name": "X", "process": [{"name": "S", "kind": "run-script", "rolse": ["web"]}]},
            "/process/0/rolse",
            14,
            "did you mean 'roles'",
        ),
        ({"kind": "Project", "name": "X", "lifecycle": "Nowhere"}, "/lifecycle", 11, "no lifecycle 'Nowhere'"),
        (
            {"kind": "Project", "name": "X", "process": [{"name": "S", "kind": "run-scrpt", "roles": ["web"]}]},
            "/process/0/kind",
            15,
            "no step kind",
        ),
        (
            {
                "kind": "Project",
                "name": "X",
                "variables": [{"name": "A", "value": "1", "scope": {"environments": ["Q"]}}],
            },
            "/variables/0/scope/environments",
            16,
            "no environment 'Q'",
        ),
    ],
)
def test_an_error_says_document_line_and_what_was_expected(applied, document, field, line, words):
    lines = {
        "": 9, "/kind": 10, "/lifecycle": 11, "/proces": 12, "/process/0": 13, "/process/0/rolse": 14,
        "/process/0/kind": 15, "/variables/0/scope": 16,
    }  # fmt: skip
    answer = applied.post("/apply", {"documents": [FILE[0], document], "lines": [{"": 1}, lines]})
    assert answer.status_code == 400, answer.text
    assert (answer.json["document"], answer.json["line"], answer.json["field"]) == (1, line, field)
    assert answer.json["detail"].startswith(f"line {line}: ")
    assert words in answer.json["detail"]
    assert applied.get("/projects/x").status_code == 404


def test_the_same_thing_twice_in_a_file_is_refused(applied):
    answer = applied.post("/apply", {"documents": [FILE[0], FILE[0] | {"name": "DEV"}]})
    assert (answer.status_code, answer.json["document"]) == (400, 1)


def test_every_document_that_changed_has_its_own_event(applied):
    differences(applied, [{"kind": "Environment", "name": "Recorded"}, {"kind": "Project", "name": "Recorded"}])
    recorded = [found["action"] for found in applied.get("/events?limit=5").json["items"]]
    assert recorded[:2] == ["project.create", "environment.create"]
