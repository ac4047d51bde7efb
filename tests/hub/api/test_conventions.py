"""What holds for every resource: pages, names or ids, errors, preconditions, answers that come late."""

import pytest

from hub.api.parts import ApiLimits
from tests.fakes.api_hub import running_api


def test_a_list_comes_in_pages_without_a_hole_or_a_repeat(api):
    for number in range(7):
        api.post("/variable-sets", {"name": f"Set {number}"})
    seen, after = [], ""
    while True:
        page = api.get(f"/variable-sets?limit=3{after}").json
        seen += [found["name"] for found in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
        api.post("/variable-sets", {"name": f"A between {len(seen)}"})
    assert [name for name in seen if name.startswith("Set")] == [f"Set {number}" for number in range(7)]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1_0",
        "limit=%D9%A1",
        "after=xx",
        "after=W10",
        "limit=1&limit=2",
        "what=1",
    ],
)
def test_a_query_that_is_none_is_refused_with_its_name(api, query):
    refused = api.get(f"/projects?{query}")
    assert refused.status_code == 400
    assert refused.json["field"] == query.partition("=")[0]


def test_names_and_ids_are_one_another_s_equal(api):
    made = api.post("/environments", {"name": "Staging Area"}).json
    for ref in (made["id"], "Staging Area", "staging%20area"):
        assert api.get(f"/environments/{ref}").json == made
    assert api.post("/environments", {"name": "STAGING AREA"}).status_code == 409


@pytest.mark.parametrize("name", ["", " a", "a ", "a/b", "a\nb", "a\u202eb", "-x", "0" * 32, "a" * 101, "a%b"])
def test_a_name_that_no_address_could_carry_is_refused(api, name):
    refused = api.post("/projects", {"name": name})
    assert (refused.status_code, refused.json["field"]) == (400, "name")


def test_an_update_needs_the_version_that_was_read(api):
    api.post("/lifecycles", {"name": "Guarded"})
    missing = api.call("PUT", "/lifecycles/Guarded", {"name": "Guarded", "phases": []})
    assert (missing.status_code, missing.json["code"]) == (428, "PRECONDITION_REQUIRED")
    for tag in ("7", 'W/"1"', '"1", "2"', '"x"', '"0"'):
        refused = api.call("PUT", "/lifecycles/Guarded", {"name": "Guarded", "phases": []}, headers={"If-Match": tag})
        assert (refused.status_code, refused.json["field"]) == (400, "If-Match")
    assert api.put("/lifecycles/Guarded", {"name": "Guarded", "phases": []}, version=2).status_code == 412
    assert api.put("/lifecycles/Guarded", {"name": "Guarded", "phases": []}, version=1).status_code == 200
    assert api.put("/lifecycles/Guarded", {"name": "Guarded", "phases": []}).status_code == 200


def test_what_the_client_has_already_is_not_sent_again(api):
    api.post("/projects", {"name": "Cached"})
    tag = api.get("/projects/cached").headers["ETag"]
    again = api.get("/projects/cached", headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")


def test_each_part_of_a_project_has_its_own_version(api):
    api.post("/projects", {"name": "Twofold"})
    api.put("/projects/twofold", {"name": "Twofold", "description": "x"}, version=1)
    step = {"name": "Go", "kind": "run-script", "roles": ["web"], "script": "true"}
    done = api.put("/projects/twofold/process", {"steps": [step]}, version=1)
    assert (done.status_code, done.headers["ETag"]) == (200, '"2"')
    assert api.put("/projects/twofold/process", {"steps": []}, version=1).status_code == 412
    assert api.get("/projects/twofold/process").json["steps"][0]["script"] == "true"


def test_a_method_that_is_not_there_says_which_are(api):
    refused = api.call("DELETE", "/projects")
    assert (refused.status_code, refused.json["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert {"GET", "POST"} <= {found.strip() for found in refused.headers["Allow"].split(",")}


def test_nobody_is_told_how_to_sign_in(api):
    refused = api.get("/projects", key="")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="manyarm"')


def test_a_missing_permission_is_named(api):
    refused = api.post("/environments", {"name": "No"}, key=api.as_user("looker", "viewer"))
    assert refused.status_code == 403
    assert "environment.edit" in refused.json["detail"]


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 101])
def test_an_idempotency_key_that_is_none_is_refused(api, key):
    refused = api.post("/projects", {"name": "Keyed"}, headers={"Idempotency-Key": key.encode().decode("latin-1")})
    assert (refused.status_code, refused.json["field"]) == (400, "Idempotency-Key")


def test_health_is_public_and_empty_and_readiness_is_not(api):
    alive = api.get("/healthz", key="")
    assert (alive.status_code, alive.data) == (200, b"")
    assert api.get("/readyz", key="").json == {"database": True, "broker": True}
    outside = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}}
    for path in ("/readyz", "/metrics"):
        assert api.get(path, key="", **outside).status_code == 403
        assert api.get(path, key="", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
        assert api.get(path, key=api.key_for(api.users["root"], scopes=["metrics"]), **outside).status_code == 200
        assert api.get(path, key=api.as_user(f"no{path[1:]}", "viewer"), **outside).status_code == 403
    assert "manyarm_targets" in api.get("/metrics", key="").text


def test_roots_name_every_collection(api):
    links = api.get("").json["links"]
    for link in links.values():
        assert api.get(link).status_code == 200, link


def test_who_am_i(api):
    key = api.as_user("ann", "viewer", scopes=["project.view"])
    me = api.get("/me", key=key).json
    assert (me["name"], me["scopes"], me["permissions"]) == ("ann", ["project.view"], ["project.view"])


def test_an_engine_that_is_away_leaves_a_link_and_answers_later(tmp_path):
    with running_api(tmp_path, engine=False, limits=ApiLimits(answer_wait_s=0.05)) as api:
        late = api.post("/projects", {"name": "Late"})
        assert (late.status_code, late.json["state"]) == (202, "waiting")
        assert api.get(late.headers["Location"]).json["state"] == "waiting"
        api.answering.handle(api.broker.published[-1].body)
        done = api.get(late.headers["Location"]).json
        assert (done["state"], done["status"], done["answer"]["slug"]) == ("done", 201, "late")
        assert api.get(late.headers["Location"], key=api.as_user("other", "system-admin")).status_code == 404
