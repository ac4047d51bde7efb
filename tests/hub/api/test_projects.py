"""Projects over the API: made, read, changed, with the answers that clients build on."""


def test_a_project_is_made_read_and_changed_under_its_etag(api):
    made = api.post("/projects", {"name": "Storefront"})
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == f"/api/v1/projects/{made.json['id']}"
    read = api.get("/projects/storefront")
    assert read.json == made.json
    assert read.headers["ETag"] == '"1"'
    changed = api.put("/projects/storefront", {"name": "Storefront", "description": "Sells"}, version=1)
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert api.get("/projects/Storefront").json["description"] == "Sells"


def test_a_lost_update_is_refused_and_says_so(api):
    api.post("/projects", {"name": "Raced"})
    assert api.put("/projects/raced", {"name": "Raced", "description": "one"}, version=1).status_code == 200
    lost = api.put("/projects/raced", {"name": "Raced", "description": "two"}, version=1)
    assert (lost.status_code, lost.json["code"]) == (412, "STALE")
    assert api.get("/projects/raced").json["description"] == "one"
