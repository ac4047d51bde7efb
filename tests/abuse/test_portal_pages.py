"""The pages' half of "Portal and API": the door, forms, sessions, headers, and whatever a page is asked to be."""

import io
import itertools
import re
import threading
from dataclasses import replace

import pytest
from flask import Flask

from hub.access import sessions, users
from hub.access.caller import SESSION_IDLE_MS, STEP_UP_MS
from hub.access.passwords import Passwords
from hub.api.declared import Undeclared, public, refuse_undeclared
from hub.api.headers import CONTENT_SECURITY_POLICY
from hub.api.parts import ApiLimits
from hub.storage.database import connection, write_tx
from hub.storage.models import ALL_TABLES, Event, Grant, Project, RateBucket, Session, User, now_ms
from portal import login
from portal.app import create_app
from portal.forms import safe_next
from tests.fakes.portal_hub import ORIGIN, PASSWORD, PortalHub, Visitor, running_portal

API = ("/api/", "/healthz", "/readyz", "/metrics")
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    with running_portal(tmp_path_factory.mktemp("hub"), limits=ApiLimits(stream_recheck_s=0.1)) as running:
        running.task = running.tell_story()
        running.person("ann", "system-admin")
        yield running


@pytest.fixture
def ann(portal):
    return portal.signed_in("ann")


def page_rules(portal: PortalHub, method: str) -> list[str]:
    """Every page's address that takes the method, with things that exist in it."""
    there = {
        "project": "storefront",
        "version": "1.0.0",
        "environment": "Development",
        "task": portal.task,
        "target": "web-1",
        "spoke": "web-1",
        "package": "storefront",
        "filename": "manyarm.css",
        "key": "abcd1234",
        "session": "0" * 32,
        "code": "0" * 16,
        "kind": "ssh",
    }
    return [
        re.sub(r"<(?:[^:>]+:)?(\w+)>", lambda found: there[found[1]], rule.rule)
        for rule in portal.app.url_map.iter_rules()
        if method in (rule.methods or ()) and not rule.rule.startswith(API)
    ]


def everything(*, but: tuple[str, ...] = ("used_at", "seen_at")) -> dict[str, list[dict]]:
    with connection():
        return {
            table.__name__: [{k: v for k, v in row.items() if k not in but} for row in table.select().dicts()]
            for table in ALL_TABLES
        }


def token_of(visitor: Visitor) -> str:
    return sessions.csrf_token(visitor.cookie())


# The door


def test_t127_unknown_wrong_and_disabled_look_and_cost_the_same(portal, monkeypatch):
    portal.person("known", "viewer")
    portal.person("locked", "viewer")
    with connection(), write_tx():
        users.disable_user(portal.api.installed.seals, portal.api.users["locked"], now_ms())
    hashed = []
    verify = Passwords.verify
    monkeypatch.setattr(Passwords, "verify", lambda self, *asked: (hashed.append(1), verify(self, *asked))[1])
    answers = []
    for name, password in (("nobody", PASSWORD), ("known", "wrong password here"), ("locked", PASSWORD)):
        answer = portal.visitor().sign_in(name, password)
        answers.append((answer.status_code, re.sub(r'value="[^"]*"', "", answer.text)))
    assert len(set(answers)) == 1
    assert answers[0][0] == 401
    assert len(hashed) == 3
    portal.forget_limits()


def test_t128_guessing_is_slowed_by_account_and_by_address_and_the_owner_still_comes_in(portal, monkeypatch):
    now = [now_ms()]
    monkeypatch.setattr(login, "_now_ms", lambda: now[0])
    portal.person("guessed", "viewer")
    waits = []
    for _ in range(12):
        answer = portal.visitor().sign_in("guessed", "guess after guess")
        if answer.status_code == 429:
            waits.append(int(answer.headers["Retry-After"]))
            now[0] += waits[-1] * 1000
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    now[0] += waits[-1] * 1000 * 2
    assert portal.visitor().sign_in("guessed").status_code == 303
    one_address = portal.visitor()
    spread = [one_address.sign_in(f"name-{number}", "guess after guess").status_code for number in range(40)]
    assert spread.count(429) >= 9
    assert spread[:25] == [401] * 25
    assert portal.visitor().sign_in("guessed").status_code == 303
    portal.forget_limits()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
        {"Sec-Fetch-Site": ""},
        {"Origin": "https://evil.example"},
        {},
    ],
)
def test_t130_a_form_from_elsewhere_is_refused_whatever_it_carries(portal, ann, headers):
    fields = {"csrf_token": token_of(ann), "name": "Evil"}
    before = everything()
    for path in page_rules(portal, "POST"):
        answer = ann.client.post(path, data=fields, base_url=ORIGIN, headers=headers)
        assert answer.status_code == 403, path
    assert everything() == before


def test_t131_the_cookie_alone_without_the_token_is_refused(portal, ann):
    before = everything()
    for path in page_rules(portal, "POST"):
        assert ann.post(path, name="Evil").status_code == 403, path
        assert ann.client.post(path, base_url=ORIGIN, headers={"Origin": ORIGIN}).status_code == 403, path
    assert everything() == before


def test_t133_nobody_is_signed_in_as_the_attacker(portal, ann):
    attacker = portal.visitor()
    attacker.get("/login")
    theirs = attacker.cookie("__Host-manyarm-door")
    victim = portal.visitor()
    fields = {"name": "ann", "password": PASSWORD, "csrf_token": theirs}
    assert victim.post("/login", **fields).status_code == 403
    victim.get("/login")
    assert victim.post("/login", **fields).status_code == 403
    assert victim.cookie() == ""
    # A session that is over, or anybody's, makes the door no wider.
    for stale in ("stale", ann.cookie()):
        victim.client.set_cookie("__Host-manyarm", stale, domain="hub.example", secure=True)
        assert victim.post("/login", **fields).status_code == 403
        cross = fields | {"csrf_token": sessions.csrf_token(stale)}
        refused = victim.client.post("/login", data=cross, base_url=ORIGIN, headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403


def test_t134_no_page_that_is_read_changes_a_row(portal, ann):
    before = everything()
    for method in ("GET", "HEAD", "OPTIONS"):
        for path in page_rules(portal, method):
            for visitor in (ann, portal.visitor()):
                answer = visitor._open(method, path)
                assert answer.status_code < 500, (method, path)
                assert answer.data is not None
    assert everything() == before


@pytest.mark.parametrize("token", ["", "x", "é" * 43, "\x7f" * 43, "🔒", "a" * 10_000, "' OR 1=1", "null", "undefined"])
def test_t135_a_wrong_token_is_403_and_never_a_crash(portal, ann, token):
    assert ann.post("/projects/storefront/releases", csrf_token=token).status_code == 403
    assert ann.post("/projects/storefront/releases", **{"csrf_token[]": token}).status_code == 403


def test_t135_the_token_of_another_session_and_a_list_of_tokens_are_refused(portal, ann):
    other = portal.signed_in("ann")
    assert ann.post("/account/keys", csrf_token=token_of(other), name="x", days="7").status_code == 403
    both = ann.client.post(
        "/account/keys",
        data=[("csrf_token", token_of(ann)), ("csrf_token", "x"), ("name", "x")]
        and f"csrf_token={token_of(ann)}&csrf_token=x",
        content_type="application/x-www-form-urlencoded",
        base_url=ORIGIN,
        headers=SAME,
    )
    assert both.status_code == 403
    for body, kind in (
        (b'{"csrf_token": ["x"]}', "application/json"),
        (b"\xff\xfe\x00", "multipart/form-data"),
        (b"csrf_token=x", "text/plain"),
    ):
        answer = ann.client.post("/account/keys", data=body, content_type=kind, base_url=ORIGIN, headers=SAME)
        assert answer.status_code == 403, kind


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://hub.example.evil.example",
        "https://evilhub.example",
        "http://hub.example",
        "https://hub.example:444",
        "https://hub.example/",
        "HTTPS://HUB.EXAMPLE.",
        "https://hub.example, https://evil.example",
    ],
)
def test_t136_an_origin_that_looks_alike_is_another_one(portal, ann, origin):
    fields = {"csrf_token": token_of(ann)}
    answer = ann.client.post("/logout", data=fields, base_url=ORIGIN, headers={"Origin": origin})
    assert answer.status_code == 403
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for path in ("/logout", "/api/v1/projects"):
        asked = ann.client.options(path, base_url=ORIGIN, headers=preflight)
        assert not any(name.startswith("Access-Control") for name, _ in asked.headers)
    assert ann.get("/account").status_code == 200


def test_t140_a_page_without_a_declaration_stops_the_start_and_is_closed(portal):
    grown = create_app(portal.parts)
    grown.add_url_rule("/quiet", "quiet", lambda: "nobody asked")
    with pytest.raises(Undeclared, match=r"GET /quiet .*quiet"):
        refuse_undeclared(grown)
    assert grown.test_client().get("/quiet", base_url=ORIGIN).status_code == 403
    bare = Flask("bare", static_folder=None)
    bare.add_url_rule("/x", "x", public(reason="a test's")(lambda: "x"))
    refuse_undeclared(bare)


def test_t140_nobody_reaches_a_page_but_the_door_without_signing_in(portal):
    stranger = portal.visitor()
    for path in page_rules(portal, "GET"):
        answer = stranger.get(path)
        if path.startswith(("/login", "/setup", "/static/")):
            assert answer.status_code in {200, 303}
        else:
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (303, "/login"), path
    stranger.get("/login")
    door = stranger.cookie("__Host-manyarm-door")
    for path in page_rules(portal, "POST"):
        if path not in {"/login", "/setup"}:
            answer = stranger.post(path, csrf_token=door)
            assert answer.status_code in {303, 403}, path
            assert answer.headers.get("Location", "/login").startswith("/login"), path


# What lies in the database, and where names come from


def test_t143_no_session_and_no_token_lies_in_the_database(portal, ann):
    cookie, token = ann.cookie(), token_of(ann)
    made = ann.submit("/account/keys", page="/account", name="looked for", days="7")
    key = re.search(r"mak_[\w-]+", made.text)[0]
    ann.get("/targets/new")
    code = re.search(r"maj1-[\w-]+", ann.submit("/targets/new").text)[0]
    stored = b"".join(path.read_bytes() for path in portal.api.installed.home.glob("manyarm.db*"))
    stored += repr(everything()).encode()
    for canary in (cookie, token, key, key[len("mak_00000000_") :][:43], code, PASSWORD):
        assert canary.encode() not in stored
    assert sessions.session_id(cookie).encode() in stored


@pytest.mark.parametrize(
    "name",
    [
        'a"\r\nSet-Cookie: x=1.1.0.0.zip',
        "..\\x.1.0.0.zip",
        "💥.1.0.0.zip",
        "n" * 1000 + ".1.0.0.zip",
        "../../x.1.0.0.zip",
    ],
)
def test_t148_a_hostile_file_name_makes_no_header_and_no_file(portal, ann, name):
    fields = {"csrf_token": token_of(ann), "file": (io.BytesIO(b"PK"), name.replace("\r\n", "%0d%0a"))}
    answer = ann.client.post("/packages/upload", data=fields, base_url=ORIGIN, headers=SAME)
    assert answer.status_code in {303, 400}
    assert all("x=1" not in value for value in answer.headers.getlist("Set-Cookie"))
    raw = ann.get(f"/tasks/{portal.task}/log.txt")
    assert re.fullmatch(r'attachment; filename="task-[0-9a-f]{32}\.txt"', raw.headers["Content-Disposition"])


@pytest.mark.parametrize(
    "path", ["..%2fmanyarm.db", "%252e%252e%252f", "%2fetc%2fpasswd", "a%00b", "..", "....//", "%5c..%5c"]
)
def test_t149_a_path_in_a_page_address_leads_nowhere(portal, ann, path):
    for family in ("projects", "tasks", "targets", "static", "projects/storefront/releases"):
        assert ann.get(f"/{family}/{path}").status_code in {400, 404}, family
    assert ann.get(f"/tasks/{path}/log.txt").status_code in {400, 404}
    assert ann.get(f"/packages?id={path}").status_code in {400, 404}


# Sessions


@pytest.mark.parametrize("how", ["disabled", "demoted", "deleted"])
def test_t150_whoever_loses_his_rights_loses_them_with_the_next_page(portal, how):
    visitor = portal.signed_in(f"was-{how}", "system-admin")
    assert visitor.get("/audit").status_code == 200
    user = portal.api.users[f"was-{how}"]
    with connection(), write_tx():
        if how == "disabled":
            users.disable_user(portal.api.installed.seals, User.get_by_id(user.id), now_ms())
        elif how == "demoted":
            users.remove_grant(Grant.get(Grant.user == user.id))
        else:
            user.delete_instance(recursive=True)
    assert visitor.get("/audit").status_code == (403 if how == "demoted" else 303)
    assert visitor.post("/projects/storefront/releases", csrf_token=token_of(visitor)).status_code in {303, 403}


def test_t151_a_session_is_over_at_the_very_moment_and_stays_so(portal, monkeypatch):
    now = [now_ms()]
    monkeypatch.setattr(login, "_now_ms", lambda: now[0])
    idle = portal.signed_in("ann")
    now[0] += SESSION_IDLE_MS - 1
    assert idle.get("/account").status_code == 200
    now[0] += SESSION_IDLE_MS
    assert [idle.get("/account").status_code for _ in range(2)] == [303, 303]


def test_t152_a_session_that_never_rests_ends_after_twelve_hours(portal, monkeypatch):
    now = [now_ms()]
    monkeypatch.setattr(login, "_now_ms", lambda: now[0])
    busy = portal.signed_in("ann")
    begun = now[0]
    while now[0] + SESSION_IDLE_MS // 2 < begun + sessions.LIFETIME_MS:
        now[0] += SESSION_IDLE_MS // 2
        assert busy.get("/account").status_code == 200
    now[0] = begun + sessions.LIFETIME_MS
    assert [busy.get("/account").status_code for _ in range(2)] == [303, 303]


def test_t152_a_cookie_is_dead_after_signing_out_and_after_a_new_password(portal):
    portal.person("dee", "viewer")
    visitor = portal.signed_in("dee")
    stolen = visitor.cookie()
    visitor.submit("/logout", page="/")
    second = portal.signed_in("dee")
    stolen_too = second.cookie()
    with connection(), write_tx():
        hashed = portal.parts.api.passwords.hash("another one entirely")
        users.set_password(portal.api.installed.seals, User.get(User.name == "dee"), hashed)
    for cookie in (stolen, stolen_too):
        thief = portal.visitor()
        thief.client.set_cookie("__Host-manyarm", cookie, domain="hub.example", secure=True)
        assert thief.get("/account").status_code == 303
        answer = thief.client.get("/api/v1/me", base_url=ORIGIN)
        assert answer.status_code == 401


def test_t153_no_spelling_of_a_name_escapes_its_bucket(portal):
    portal.forget_limits()
    portal.person("Ångström", "viewer")
    spellings = (
        "Ångström",
        "ångström",
        "ÅNGSTRÖM",
        "A\u030angstro\u0308m",
        " Ångström ",
        "Ångström\u3000",
        "Ａ\u030angström",
    )
    for name in spellings:
        portal.visitor().sign_in(name, "wrong password here")
    with connection():
        buckets = [row.key for row in RateBucket.select() if row.key.startswith("account:")]
    assert buckets == ["account:ångström"]
    for name in ("ang\x00strom", "ang\x1bstrom", "ang\u202estrom"):
        answer = portal.visitor().sign_in(name, "wrong password here")
        assert answer.status_code in {400, 401}, name
        with connection():
            assert {row.key for row in RateBucket.select() if row.key.startswith("account:")} <= {
                "account:ångström",
                "account:",
            }
    with connection(), write_tx(), pytest.raises(Exception, match="already"):
        users.create_user(portal.api.installed.seals, "ÅNGSTRÖM", now_ms())
    portal.forget_limits()


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "/%09/evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/%5cevil.example",
        "/%2fevil.example",
        "%2f%2fevil.example",
        "evil.example",
        "/a\r\nSet-Cookie: x=1",
        "/a%0d%0aSet-Cookie:%20x=1",
        "\u2044/evil.example",
        "",
    ],
)
def test_t154_the_door_leads_to_our_own_pages_alone(portal, wanted):
    assert safe_next(wanted) == "/"
    portal.forget_limits()
    visitor = portal.visitor()
    visitor.get("/login")
    answer = visitor.submit("/login", page="/login", name="ann", password=PASSWORD, next=wanted)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert safe_next("/projects?q=a%20b") == "/projects?q=a%20b"


def test_t155_a_session_that_was_there_before_is_not_taken_over(portal, ann):
    planted = ann.cookie()
    victim = portal.visitor()
    victim.client.set_cookie("__Host-manyarm", planted, domain="hub.example", secure=True)
    answer = victim.submit("/login", page="/login", name="ann", password=PASSWORD)
    assert answer.status_code == 303
    assert victim.cookie() not in {"", planted}
    assert ann.get("/account").status_code == 303
    unknown = portal.visitor()
    unknown.client.set_cookie("__Host-manyarm", "chosen-by-somebody", domain="hub.example", secure=True)
    unknown.submit("/login", page="/login", name="ann", password=PASSWORD)
    assert unknown.cookie() not in {"", "chosen-by-somebody"}
    shadow = portal.visitor()
    raw = {"Cookie": f"=x; manyarm={unknown.cookie()}; __host-manyarm={unknown.cookie()}; nameless"}
    assert shadow.get("/account", headers=raw).status_code == 303


def test_t155_the_cookie_is_bound_to_this_host_and_out_of_reach_of_scripts(portal):
    visitor = portal.visitor()
    answer = visitor.submit("/login", page="/login", name="ann", password=PASSWORD)
    (cookie,) = [value for value in answer.headers.getlist("Set-Cookie") if value.startswith("__Host-manyarm=")]
    for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie
    assert len(visitor.cookie()) == 43


def test_t168_what_hands_out_trust_asks_again_after_a_while(portal, ann):
    with connection(), write_tx():
        old = now_ms() - STEP_UP_MS - 1
        Session.update(reauthenticated_at=old).where(Session.id_sha256 == sessions.session_id(ann.cookie())).execute()
    for path, fields in {
        "/account/keys": {"name": "stale", "days": "7"},
        "/targets/new": {},
        "/targets/spokes/web-1/approve": {},
        "/account/password": {"password": "seven quiet herons wading", "again": "seven quiet herons wading"},
    }.items():
        answer = ann.post(path, csrf_token=token_of(ann), **fields)
        assert answer.headers["Location"].startswith("/prove?next="), path
    for path in ("/targets/new", "/account/password"):
        assert ann.get(path).headers["Location"].startswith("/prove?next="), path
    assert ann.post("/account/keys", name="stale", days="7").status_code == 403


# What a page says about itself


def test_t160_a_form_that_is_too_much_is_refused_before_it_is_read(portal, ann):
    begun = {"csrf_token": token_of(ann)}
    large = ann.post("/account/keys", **begun, name="n" * 100_000)
    assert large.status_code == 413
    many = "&".join(f"p{number}=1" for number in range(100_000))
    answer = ann.client.post(
        "/account/keys", data=many, content_type="application/x-www-form-urlencoded", base_url=ORIGIN, headers=SAME
    )
    assert answer.status_code == 413
    parts = b"".join(b"--b\r\nContent-Disposition: form-data; name=p\r\n\r\n1\r\n" for _ in range(100_000)) + b"--b--"
    for path in ("/account/keys", "/packages/upload"):
        answer = ann.client.post(
            path, data=parts, content_type="multipart/form-data; boundary=b", base_url=ORIGIN, headers=SAME
        )
        assert answer.status_code in {400, 403, 413}, path
    query = "&".join(f"q{number}=1" for number in range(10_000))
    assert ann.get(f"/projects?{query}").status_code < 500


def test_t161_a_host_that_is_not_ours_is_refused_and_forwarded_words_count_for_nothing(portal, ann):
    for host in ("evil.example", "hub.example.evil.example", "hub.example@evil.example", "127.0.0.2", ""):
        assert portal.app.test_client().get("/login", headers={"Host": host}).status_code == 400, host
    spoof = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-For": "198.51.100.7",
        "Forwarded": "for=198.51.100.7;host=evil.example",
    }
    answer = portal.visitor().get("/projects", headers=spoof)
    assert answer.headers["Location"] == "/login?next=/projects"
    dodging = portal.visitor()
    for number, _ in itertools.product(range(40), range(1)):
        dodging.headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        last = dodging.sign_in(f"dodge-{number}", "guess after guess")
    assert last.status_code == 429
    portal.forget_limits()


def test_t161_a_declared_proxy_is_believed_and_nobody_else(portal):
    visitor = portal.visitor()
    portal.app.extensions["manyarm"] = replace(portal.parts, trusted_proxies=(visitor.address,))
    try:
        visitor.headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        visitor.sign_in("ann")
    finally:
        portal.app.extensions["manyarm"] = portal.parts
    with connection():
        newest = Session.get(Session.id_sha256 == sessions.session_id(visitor.cookie()))
    assert newest.address == "198.51.100.7"


def test_t162_every_answer_carries_the_policy_and_no_page_is_stored(portal, ann, monkeypatch):
    stranger = portal.visitor()
    for visitor in (ann, stranger):
        for path in [*page_rules(portal, "GET"), "/nowhere", "/static/nowhere.js", f"/tasks/{portal.task}/log.txt"]:
            headers = visitor.get(path).headers
            assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY, path
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Strict-Transport-Security"] == "max-age=31536000"
            assert headers["X-Request-Id"]
            assert "Access-Control-Allow-Origin" not in headers
            if path != "/static/manyarm.css":
                assert headers["Cache-Control"] == "no-store", path
    refused = stranger.post("/login")
    assert (refused.status_code, refused.headers["Content-Security-Policy"]) == (403, CONTENT_SECURITY_POLICY)
    assert "'unsafe" not in CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY


def test_t163_a_page_that_breaks_says_only_where_the_log_has_it(portal, ann, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret-in-a-trace")

    monkeypatch.setattr("portal.pages.projects.projects.all_projects", crash)
    answer = ann.get("/projects")
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text
    assert "secret-in-a-trace" not in answer.text
    assert "Traceback" not in answer.text
    for path in ("/console", "/debug", "/__debugger__", "/?__debugger__=yes&cmd=resource&f=style.css", "/.git/config"):
        assert ann.get(path).status_code in {200, 404}
        assert "EVALEX" not in ann.get(path).text
    assert not portal.app.debug
    assert not portal.app.testing


def test_t167_a_live_log_is_closed_by_signing_out_and_by_losing_the_right(portal):
    foreign = portal.api.post("/projects", {"name": "Another"}).json["id"]
    outsider = portal.signed_in("outsider", ("project-admin", foreign, None))
    address = f"/api/v1/tasks/{portal.task}/stream"
    assert outsider.get(address).status_code == 404
    for name, lose in {
        "leaves": lambda visitor: visitor.submit("/logout", page="/"),
        "falls": lambda _: _demote("falls"),
    }.items():
        visitor = portal.signed_in(name, "viewer")
        stream = visitor.client.get(address, base_url=ORIGIN, buffered=False)
        assert stream.status_code == 200
        pieces = stream.iter_encoded()
        assert b"retry:" in next(pieces)
        lose(visitor)
        ended = threading.Event()

        def drain(pieces=pieces, ended=ended) -> None:
            for _ in pieces:
                pass
            ended.set()

        threading.Thread(target=drain, daemon=True).start()
        assert ended.wait(20), name
        stream.close()


def _demote(name: str) -> None:
    with connection(), write_tx():
        users.remove_grant(Grant.get(Grant.user == User.get(User.name == name).id))


def test_t145_a_hostile_name_is_text_on_every_page(portal, ann):
    hostile = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    with connection(), write_tx():
        Project.update(description=hostile).where(Project.name == "Storefront").execute()
        row = Event.select().order_by(Event.seq.desc()).first()
    assert row is not None
    made = ann.submit("/projects/storefront/releases", page="/projects/storefront", version="3.0.0", notes=hostile)
    assert made.status_code == 303
    ann.submit("/targets/web-1/disable", page="/targets/web-1", reason=hostile)
    ann.submit("/account/keys", page="/account", name=hostile[:80], days="7")
    try:
        for path in (
            "/projects",
            "/projects/storefront",
            "/projects/storefront/releases/3.0.0",
            "/targets",
            "/targets/web-1",
            "/account",
            "/audit",
            f"/projects?q={hostile}",
            f"/login?next={hostile}",
            f"/audit?action={hostile}",
        ):
            text = ann.get(path).text
            assert "<img" not in text, path
            assert "<script>alert" not in text, path
    finally:
        ann.submit("/targets/web-1/enable", page="/targets/web-1")
