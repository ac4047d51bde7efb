"""Shared variables: read by who may read all, written by who may edit sets, included by projects."""


def test_a_set_is_made_filled_included_and_kept_while_it_is_used(api):
    made = api.post("/variable-sets", {"name": "Shared"})
    assert made.status_code == 201, made.text
    value = api.post("/variable-sets/shared/variables", {"name": "Region", "value": "north"}).json
    changed = api.put(f"/variable-sets/shared/variables/{value['id']}", {"name": "Region", "value": "south"}, version=1)
    assert (changed.json["value"], changed.headers["ETag"]) == ("south", '"2"')
    project = api.post("/projects", {"name": "Includer", "variable_sets": ["Shared"]})
    assert project.json["variable_sets"] == ["Shared"]
    assert api.delete("/variable-sets/shared").status_code == 409
    api.put("/projects/includer", {"name": "Includer"})
    assert api.delete("/variable-sets/shared").status_code == 204


def test_a_set_is_read_by_whoever_reads_the_variables_of_all_projects(api):
    api.post("/variable-sets", {"name": "Read"})
    project = api.post("/projects", {"name": "Narrow"}).json["id"]
    everywhere, one = api.as_user("reader", "viewer"), api.as_user("narrow", ("project-admin", project, None))
    for path in ("/variable-sets", "/variable-sets/read", "/variable-sets/read/variables"):
        assert api.get(path, key=everywhere).status_code == 200
        assert api.get(path, key=one).status_code == 403
    assert api.post("/variable-sets/read/variables", {"name": "A", "value": "b"}, key=everywhere).status_code == 403
