"""The API half of "Portal and API": each attack runs over the whole URL map, so a route that is added is attacked too."""

import json
import re
import threading
import time
from urllib.parse import quote

import pytest
from flask import Flask

from hub.access.caller import STEP_UP_MS, caller_of
from hub.api.app import create_app
from hub.api.declared import Undeclared, public, refuse_undeclared
from hub.api.resources.artifacts import disposition
from hub.api.route import BASE
from hub.errors import StepUpNeeded
from hub.operations.catalogue import CATALOGUE
from hub.storage.database import connection, write_tx
from hub.storage.models import ALL_TABLES, ApiKey, Release, Session, Task, User, now_ms
from tests.fakes.api_hub import ApiHub, running_api
from wire.messages import Credential, CredentialKind

SQL = (
    "' OR '1'='1",
    "'; DROP TABLE project;--",
    '" UNION SELECT password_hash FROM user--',
    "1) OR (1=1",
    "%27%20OR%201=1",
)
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def api(request, tmp_path_factory):
    database = request.getfixturevalue("module_postgres_url") if request.param == "postgres" else ""
    with running_api(tmp_path_factory.mktemp("hub"), database=database) as running:
        running.post("/apply", {"documents": DOCUMENTS})
        running.add_target("web-1", roles=("web",), environments=("Development",))
        running.add_runner()
        running.push("storefront.1.0.0.zip")
        running.post("/releases", {"project": "Storefront", "version": "1.0.0"})
        running.post("/deployments", {"project": "Storefront", "release": "1.0.0", "environment": "Development"})
        yield running


DOCUMENTS = [
    {"kind": "Environment", "name": "Development"},
    {"kind": "Environment", "name": "Production"},
    {
        "kind": "Project",
        "name": "Storefront",
        "variables": [{"name": "Token", "secret": True, "value": "canary-5tr0ng"}],
        "process": [{"name": "Web", "kind": "deploy-package", "roles": ["web"], "package": "storefront"}],
    },
    {
        "kind": "Project",
        "name": "Foreign",
        "process": [{"name": "Go", "kind": "run-script", "roles": ["web"], "script": "true"}],
    },
]


def rules(api: ApiHub, *methods: str) -> list[tuple[str, str, list[str]]]:
    """Every (method, rule, names in the path) of the API."""
    return [
        (method, rule.rule, sorted(rule.arguments))
        for rule in api.app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) & set(methods))
    ]


def filled(rule: str, **values: str) -> str:
    """A rule with things that exist in it; `values` replace some of them."""
    with connection():
        task = Task.select().order_by(Task.created_at).first()
        release = Release.select().first()
    there = {
        "project": "storefront",
        "environment": "Development",
        "lifecycle": "Default",
        "release": release.id,
        "task": task.id,
        "target": "web-1",
        "spoke": "web-1",
        "package": "storefront",
        "version": "1.0.0",
        "user": "root",
    } | values
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: quote(there.get(found[1], "x"), safe=""), rule)


def everything(*, but: tuple[str, ...] = ("used_at",)) -> dict[str, list[dict]]:
    """All rows of all tables, save the columns named."""
    with connection():
        return {
            table.__name__: [{k: v for k, v in row.items() if k not in but} for row in table.select().dicts()]
            for table in ALL_TABLES
        }


def problem(response, *statuses: int) -> dict:
    assert response.status_code in statuses, (response.status_code, response.text[:300])
    assert response.content_type == "application/problem+json"
    found = json.loads(response.data)
    assert {"type", "title", "status", "code", "detail", "request_id"} <= found.keys()
    return found


def test_t132_a_body_that_is_not_declared_as_json_is_refused(api):
    for kind in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "application/jsonp", ""):
        refused = api.call("POST", "/projects", data=b'{"name":"Plain"}', content_type=kind or None)
        problem(refused, 415)
    twice = api.call("POST", "/projects", data=b'{"name":"Plain"}', content_type="application/json, text/plain")
    problem(twice, 415)
    assert api.get("/projects/plain").status_code == 404


def test_t134_no_reading_request_changes_a_row(api):
    before = everything()
    for method, rule, _ in rules(api, "GET", "HEAD", "OPTIONS"):
        if not rule.endswith("/stream"):
            assert api.call(method, filled(rule)).status_code < 500, rule
    assert everything() == before


def test_t137_sql_in_any_parameter_of_any_route_is_a_value_and_nothing_else(api):
    before = {name: len(rows) for name, rows in everything().items() if name not in {"IntentRow", "Event"}}
    for method, rule, names in rules(api, "GET", *UNSAFE):
        for attack in SQL:
            for name in names:
                answer = api.call(method, filled(rule, **{name: attack}), {} if method != "GET" else None)
                assert 400 <= answer.status_code < 500, (method, rule, name, answer.status_code)
            if method == "GET" and not rule.endswith("/stream"):
                for name in ("q", "after", "project", "state", "sort", "environment", "name", "action", "role"):
                    answer = api.get(f"{filled(rule)}?{name}={quote(attack)}")
                    assert answer.status_code < 500, (rule, name)
                    if answer.status_code == 200 and answer.is_json and "items" in answer.json:
                        assert answer.json["items"] == [], (rule, name)
    after = {name: len(rows) for name, rows in everything().items() if name not in {"IntentRow", "Event"}}
    assert after == before


@pytest.mark.parametrize("text", ["%", "_", "*", "\\", "_%"])
def test_t138_a_search_takes_its_wildcards_literally(api, text):
    for path in ("/projects", "/packages", "/targets", "/users"):
        found = api.get(f"{path}?q={quote(text)}")
        assert (found.status_code, found.json["items"]) == (200, []), path


@pytest.mark.parametrize("text", ["password", "1;--", "user.password_hash", "-created"])
def test_t138_a_sort_that_nobody_declared_is_refused(api, text):
    assert problem(api.get(f"/users?sort={quote(text)}"), 400)["field"] == "sort"


def test_t140_a_route_without_a_declaration_stops_the_start_and_is_named(api):
    app = Flask("more", static_folder=None)
    app.add_url_rule("/quiet", "quiet", lambda: "nobody asked")
    with pytest.raises(Undeclared, match=r"GET /quiet .*quiet"):
        refuse_undeclared(app)
    app.view_functions["quiet"] = public(reason="a test's")(app.view_functions["quiet"])
    refuse_undeclared(app)
    grown = create_app(api.parts)
    grown.add_url_rule(f"{BASE}/late", "late", lambda: "nobody asked")
    with pytest.raises(Undeclared, match="late"):
        refuse_undeclared(grown)
    assert problem(grown.test_client().get(f"{BASE}/late", headers={"Authorization": f"Bearer {api.key}"}), 403)


def test_t140_every_route_but_the_few_public_ones_needs_somebody(api):
    described = {"/api/v1/openapi.json", "/api/v1/integration/schemas/<schema>"}
    public_rules = described | {"/healthz", "/readyz", "/metrics"}
    for method, rule, _ in rules(api, "GET", *UNSAFE):
        if rule not in public_rules:
            problem(api.call(method, filled(rule), {} if method != "GET" else None, key=""), 401)


@pytest.mark.parametrize("role", ["viewer", "deployer", "project-admin"])
def test_t140_no_role_reaches_what_only_an_administrator_may(api, role):
    key = api.as_user(f"limited-{role}", role)
    for method, path, body in [
        ("POST", "/environments", {"name": "Mine"}),
        ("POST", "/users", {"name": "mallory"}),
        ("POST", "/grants", {"user": "root", "role": "system-admin"}),
        ("POST", "/join-codes", {}),
        ("POST", "/spokes/web-1/approve", {}),
        ("POST", "/runs", {"script": "id", "targets": ["web-1"]}),
        ("DELETE", "/environments/Production", None),
        ("POST", "/projects", {"name": "Mine"}),
    ]:
        problem(api.call(method, path, body, key=key), 403)


@pytest.mark.parametrize(
    "path",
    [
        "/projects/",
        "//projects",
        "/projects;x=1",
        "/PROJECTS",
        "/projects%2f",
        "/projects%252f",
        "/./projects",
        "/projects/../projects",
        "/%70rojects%00",
    ],
)
def test_t141_another_spelling_of_an_address_is_another_address(api, path):
    for key in ("", api.key):
        answer = api.get(path, key=key)
        assert answer.status_code in {400, 401, 404}, (path, answer.status_code)


def test_t141_a_method_in_a_header_is_no_method(api):
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        answer = api.get("/projects/foreign", headers={name: "DELETE"})
        assert (answer.status_code, answer.json["name"]) == (200, "Foreign")
    refused = api.call("PATCH", "/projects/foreign", {})
    problem(refused, 405)
    assert set(refused.headers["Allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


def test_t142_a_key_counts_in_its_header_and_in_its_own_spelling_alone(api):
    key = api.key
    client = api.app.test_client(use_cookies=False)
    assert problem(client.get(f"{BASE}/projects?key={key}"), 401)
    assert problem(api.get(f"/projects?api_key={key}"), 400)
    assert problem(client.get(f"{BASE}/projects", headers={"Cookie": f"Authorization={key}"}), 401)
    for wrong in (key.upper(), key[:-1], key + "a", f" {key}", f"{key} ", key[::-1], "mak_", f"{key},{key}", "é" * 60):
        problem(
            api.get("/projects", key="", headers={"Authorization": f"Bearer {wrong}".encode().decode("latin-1")}), 401
        )
    for scheme in ("Basic", "bearer  ", "Token", ""):
        problem(api.get("/projects", key="", headers={"Authorization": f"{scheme} {key}"}), 401)
    both = client.get(f"{BASE}/projects", headers={"Authorization": f"Bearer {key}", "Cookie": "__Host-manyarm=abc"})
    assert problem(both, 400)["field"] == "Authorization"


def test_t142_a_key_that_is_revoked_expired_or_too_narrow_is_refused(api):
    root = api.users["root"]
    narrow = api.key_for(root, scopes=["project.view"])
    assert api.get("/projects", key=narrow).status_code == 200
    problem(api.post("/projects", {"name": "Wide"}, key=narrow), 403)
    problem(api.get("/users", key=narrow), 403)
    revoked = api.key_for(root)
    assert api.delete(f"/api-keys/{revoked.split('_')[1]}").status_code == 204
    problem(api.get("/projects", key=revoked), 401)
    soon = api.key_for(root, expires_at=now_ms() + 60)
    time.sleep(0.1)
    problem(api.get("/projects", key=soon), 401)


def test_t143_no_issued_key_or_code_lies_in_the_database(api):
    key = api.post("/api-keys", {"name": "looked for", "days": 1}).json["key"]
    code = api.post("/join-codes", {"environments": ["Development"]}).json["code"]
    stored = b"".join(path.read_bytes() for path in api.installed.home.glob("manyarm.db*"))
    stored += repr(everything()).encode()
    for canary in (key, key[13:56], api.key, code, "canary-5tr0ng"):
        assert canary.encode() not in stored


@pytest.mark.parametrize("path", ["..%2fmanyarm.db", "%252e%252e%252f", "%2fetc%2fpasswd", "a%00b", "..", "....//"])
def test_t149_a_path_in_an_address_leads_nowhere(api, path):
    for collection in ("artifacts", "packages", "projects", "tasks", "releases"):
        assert api.get(f"/{collection}/{path}").status_code in {400, 404}, collection
        assert api.delete(f"/packages/{path}/versions/{path}").status_code in {400, 404, 405}


def test_t149_what_belongs_to_another_project_is_not_there(api):
    with connection():
        storefront = api.get("/projects/storefront").json["id"]
        foreign = api.get("/projects/foreign").json["id"]
        task = Task.get(Task.project == storefront)
        release = Release.get(Release.project == storefront)
    key = api.as_user("outsider", ("project-admin", foreign, None))
    assert [found["name"] for found in api.get("/projects", key=key).json["items"]] == ["Foreign"]
    for path in (
        "/projects/storefront",
        f"/projects/{storefront}",
        f"/projects/{storefront}/variables",
        f"/projects/{storefront}/process",
        f"/projects/{storefront}/export",
        f"/tasks/{task.id}",
        f"/tasks/{task.id}/log",
        f"/tasks/{task.id}/stream",
        f"/tasks/{task.id}/artifacts",
        f"/releases/{release.id}",
        f"/releases/{release.id}/progression",
    ):
        there, nowhere = api.get(path, key=key), api.get(path.replace(storefront, "f" * 32), key=key)
        problem(there, 404)
        assert nowhere.status_code == 404
    assert api.get("/tasks", key=key).json["items"] == []
    assert api.get("/releases", key=key).json["items"] == []
    for method, path, body in [
        ("DELETE", f"/projects/{storefront}", None),
        ("POST", f"/projects/{storefront}/variables", {"name": "A", "value": "b"}),
        ("POST", "/releases", {"project": storefront}),
        ("POST", "/deployments", {"project": storefront, "release": "1.0.0", "environment": "Development"}),
        ("POST", f"/tasks/{task.id}/cancel", {}),
        ("DELETE", f"/releases/{release.id}", None),
    ]:
        problem(api.call(method, path, body, key=key), 404)


def test_t150_a_disabled_demoted_or_deleted_person_is_refused_at_once(api):
    for name, change in {
        "disabled": lambda user: api.post(f"/users/{user.id}/disable"),
        "demoted": lambda user: api.delete(f"/grants/{api.get(f'/grants?user={user.id}').json['items'][0]['id']}"),
        "deleted": _delete,
    }.items():
        key = api.as_user(name, "system-admin")
        assert api.get("/users", key=key).status_code == 200
        change(api.users[name])
        assert api.get("/users", key=key).status_code in {401, 403}
        assert api.post("/projects", {"name": f"By {name}"}, key=key).status_code in {401, 403}


def _delete(user: User) -> None:
    with connection(), write_tx():
        user.delete_instance(recursive=True)


def test_t151_a_key_is_refused_in_the_very_millisecond_of_its_expiry(api):
    key = api.key_for(api.users["root"], expires_at=now_ms() + 60_000)
    with connection():
        row = ApiKey.get_by_id(key.split("_")[1])
        credential = Credential(CredentialKind.API_KEY, row.id)
        assert caller_of(credential, row.expires_at - 1, api.installed.seals).name == "root"
        for at in (row.expires_at, row.expires_at, row.expires_at + 1):
            with pytest.raises(Exception, match="expired"):
                caller_of(credential, at, api.installed.seals)


@pytest.mark.parametrize(
    "name", ["is_admin", "role_ids", "project_id", "id", "created_by", "host_key", "state", "version", "seal"]
)
def test_t156_a_field_that_nobody_declared_is_refused_and_nothing_changes(api, name):
    project = api.get("/projects/storefront").json
    before = api.get("/projects/storefront").json
    for method, path, body in [
        ("PUT", "/projects/storefront", {"name": "Storefront"}),
        ("POST", "/projects", {"name": "Extra"}),
        ("POST", "/users", {"name": "extra"}),
        ("POST", "/api-keys", {"name": "extra"}),
        ("POST", "/environments", {"name": "Extra"}),
        ("PUT", "/targets/web-1", {"name": "web-1", "roles": [], "environments": []}),
        ("POST", "/join-codes", {}),
    ]:
        answer = api.call(method, path, body | {name: True}, headers={"If-Match": "*"})
        assert problem(answer, 400)["field"] == name
    for implied in ("project", "if_version"):
        clash = api.call("PUT", f"/projects/{project['id']}", {"name": "S", implied: "x"}, headers={"If-Match": "*"})
        assert problem(clash, 400)["field"] == implied
    assert api.get("/projects/storefront").json == before


def test_t157_a_variable_is_written_only_where_its_writer_has_every_environment(api):
    storefront = api.get("/projects/storefront").json["id"]
    development = api.get("/environments/Development").json["id"]
    key = api.as_user("dev-only", ("project-admin", storefront, development), "viewer")
    here = {"name": "Colour", "value": "red", "scope": {"environments": ["Development"]}}
    made = api.post("/projects/storefront/variables", here, key=key)
    assert made.status_code == 201, made.text
    for scope in ({"environments": ["Production"]}, {"environments": ["Development", "Production"]}, {}):
        problem(api.post("/projects/storefront/variables", here | {"scope": scope}, key=key), 403)
        moved = api.put(f"/projects/storefront/variables/{made.json['id']}", here | {"scope": scope}, key=key)
        problem(moved, 403)
    theirs = api.post(
        "/projects/storefront/variables", {"name": "Colour", "value": "blue", "scope": {"environments": ["Production"]}}
    ).json
    problem(api.delete(f"/projects/storefront/variables/{theirs['id']}", key=key), 403)
    problem(api.put(f"/projects/storefront/variables/{theirs['id']}", here | {"name": "X"}, key=key), 403)
    document = {"kind": "Project", "name": "Storefront", "variables": [here]}
    problem(api.post("/apply", {"documents": [document]}, key=key), 403)


@pytest.mark.parametrize(
    "choice", [{}, {"targets": []}, {"roles": []}, {"roles": ["*"]}, {"environments": ["*"]}, {"targets": ["*"]}]
)
def test_t157_an_empty_choice_or_a_wildcard_is_never_all_targets(api, choice):
    problem(api.post("/runs", {"script": "id"} | choice), 400, 404)
    empty = {"name": "Go", "kind": "run-script", "script": "id", "roles": []}
    problem(api.put("/projects/foreign/process", {"steps": [empty]}), 400)


def test_t158_every_document_of_a_file_is_authorised_and_all_go_or_none(api):
    foreign = api.get("/projects/foreign").json["id"]
    key = api.as_user("importer", ("project-admin", foreign, None))
    own = {"kind": "Project", "name": "Foreign", "description": "changed by the file"}
    for smuggled in (
        {"kind": "Environment", "name": "Smuggled"},
        {"kind": "Lifecycle", "name": "Default", "phases": []},
        {"kind": "VariableSet", "name": "Smuggled"},
        {"kind": "Target", "name": "web-1", "roles": ["db"]},
        {"kind": "Project", "name": "Smuggled"},
        {"kind": "Grant", "name": "root", "role": "system-admin"},
    ):
        for plan_only in (True, False):
            body = {"documents": [own, smuggled], "plan_only": plan_only}
            problem(api.post("/apply", body, key=key), 400, 403)
    assert api.get("/projects/foreign").json["description"] == ""
    assert (
        api.post("/apply", {"documents": [own], "plan_only": True}, key=key).json["differences"][0]["action"]
        == "update"
    )
    assert api.get("/projects/foreign").json["description"] == ""


def test_t160_deep_long_and_many_parts_are_refused_before_they_are_understood(api):
    deep = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    problem(api.call("POST", "/projects", data=deep, content_type="application/json"), 400)
    large = b'{"name":"' + b"a" * 2_000_000 + b'"}'
    problem(api.call("POST", "/projects", data=large, content_type="application/json"), 413)
    many = "&".join(f"p{number}=1" for number in range(10_000))
    problem(api.get(f"/projects?{many}"), 400)
    boundary = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n"
    form = boundary * 100_000 + b"--x--\r\n"
    problem(
        api.call("POST", "/packages?name=a.1.0.0.zip", data=form, content_type="multipart/form-data; boundary=x"),
        400,
        413,
    )


ANSWERS = [("/projects", True), ("/projects", False), ("/nowhere", True), ("/openapi.json", False), ("/healthz", False)]


@pytest.mark.parametrize(("path", "signed_in"), ANSWERS)
def test_t162_no_answer_is_stored_by_anybody_or_sets_a_cookie(api, path, signed_in):
    headers = api.get(path, key=api.key if signed_in else "").headers
    assert headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(("path", "signed_in"), ANSWERS)
def test_t164_every_answer_carries_the_policy(api, path, signed_in):
    headers = api.get(path, key=api.key if signed_in else "").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_t136_a_preflight_of_another_origin_is_allowed_nothing(api):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = api.call("OPTIONS", "/projects", key="", headers=asked)
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_t148_a_downloaded_file_has_one_safe_header_whatever_it_is_called(api):
    for name in ('a"\r\nSet-Cookie: x', "..\\x", "📦 box", "n" * 1024, "", "a/../b", "\u202egpj.exe", "half\ud800"):
        header = disposition(name)
        assert header.isascii()
        assert header.isprintable()
        assert len(header) < 2500
        assert header.count('"') == 2
        assert header.startswith('attachment; filename="')


def test_t163_a_crash_says_only_under_which_reference_the_log_has_it(api, monkeypatch):
    def crash(*_: object) -> None:
        raise ZeroDivisionError("secret-in-a-trace")

    monkeypatch.setattr("hub.queries.environments.environments", crash)
    answer = api.get("/environments")
    found = problem(answer, 500)
    assert found["request_id"] == answer.headers["X-Request-Id"]
    assert "secret-in-a-trace" not in answer.text
    assert "Traceback" not in answer.text
    for path in ("/console", "/debug", "/__debugger__", "/static/x"):
        assert api.call("GET", f"/api/v1{path}").status_code == 404


def test_t168_a_session_that_proved_itself_long_ago_must_do_it_again(api):
    with connection(), write_tx():
        row = Session.create(
            id_sha256="5" * 64,
            user=api.users["root"].id,
            expires_at=now_ms() + 60_000,
            reauthenticated_at=now_ms() - STEP_UP_MS - 1,
        )
    with connection():
        caller = caller_of(Credential(CredentialKind.SESSION, row.id_sha256), now_ms(), api.installed.seals)
        for name in (
            "user.create",
            "grant.create",
            "api-key.create",
            "spoke.approve",
            "join-code.create",
            "user.password",
        ):
            assert CATALOGUE[name].step_up, name
        with pytest.raises(StepUpNeeded):
            caller.require_step_up(now_ms())
        answer = api.parts.asking.ask(CATALOGUE["user.enable"], {"user": "root"}, caller)
    assert (answer.status, answer.body["code"]) == (403, "STEP_UP_NEEDED")


def test_t169_the_same_idempotency_key_makes_one_thing_and_another_body_is_refused(api):
    once = {"Idempotency-Key": "click-1"}
    answers = []

    def click() -> None:
        answers.append(api.post("/releases", {"project": "Storefront", "version": "7.0.0"}, headers=once))

    clicks = [threading.Thread(target=click) for _ in range(8)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 7
    other = api.post("/releases", {"project": "Storefront", "version": "7.0.1"}, headers=once)
    assert problem(other, 409)["code"] == "IDEMPOTENCY_KEY_REUSED"
    someone = api.as_user("someone", "system-admin")
    theirs = api.post("/releases", {"project": "Storefront", "version": "7.0.2"}, headers=once, key=someone)
    assert theirs.status_code == 201


@pytest.mark.parametrize(
    "text", ["@/etc/passwd", "file:///etc/passwd", "!include /etc/passwd", "%include /etc/passwd", "{{7*7}}", "${7*7}"]
)
def test_t170_a_text_that_looks_like_an_order_is_a_text(api, text):
    made = api.post("/projects/storefront/variables", {"name": "Literal", "value": text})
    assert made.json["value"] == text
    assert api.get(f"/projects/storefront/variables/{made.json['id']}").json["value"] == text


@pytest.mark.parametrize(
    ("missing", "part"),
    [
        ("project.edit", {"description": "x"}),
        ("process.edit", {"process": []}),
        ("variable.edit", {"variables": [{"name": "A", "value": "b"}]}),
        ("environment.edit", None),
    ],
)
def test_t158_a_file_needs_the_right_to_each_of_its_parts(api, missing, part):
    held = {"project.view", "project.edit", "process.edit", "variable.edit", "environment.edit"} - {missing}
    key = api.key_for(api.users["root"], scopes=sorted(held))
    document = (
        {"kind": "Project", "name": "Foreign", **part} if part else {"kind": "Environment", "name": "Development"}
    )
    refused = problem(api.post("/apply", {"documents": [document]}, key=key), 403)
    assert missing in refused["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"Twice","name":"Twice2"}',
        b'{"name":"N","description":NaN}',
        b'{"name":"N","description":Infinity}',
        b'{"name":"N","position":1e999}',
        b'{"name":"N","position":1.5}',
        b'{"name":"N","position":' + b"9" * 5000 + b"}",
        b'{"name":"N","position":9007199254740993}',
        b'{"name":"half \\ud800 pair"}',
        b'{"name":"zero \\u0000 byte"}',
        b'{"na\\u0000me":"x"}',
        b'\xef\xbb\xbf{"name":"BOM"}',
        '{"name":"UTF-16"}'.encode("utf-16"),
        b'{"name":"bad \xff utf-8"}',
        b'{"name":"open',
        b'["name"]',
        b'"name"',
        b'{"name":"trailing"} x',
        b'{"name":true}',
        b'{"name":"text","position":"1"}',
        b'{"name":"text","position":true}',
    ],
)
def test_t171_json_that_two_readers_could_read_differently_is_refused(api, body):
    for path in ("/environments", "/projects", "/apply", "/packages/missing"):
        problem(api.call("POST", path, data=body, content_type="application/json"), 400)
