"""Every page is well made: a heading, labels, scopes, forms with their token, and nothing from elsewhere."""

import re
from html.parser import HTMLParser

import pytest

from hub.storage.database import connection
from hub.storage.models import Session

PAGES = (
    "/",
    "/projects",
    "/projects?q=nothing-like-it",
    "/projects/storefront",
    "/projects/storefront/releases/1.0.0",
    "/projects/storefront/releases/1.0.0/deploy/Development",
    "/projects/storefront/releases/1.0.0/rollback/Development",
    "/projects/storefront/releases/1.0.0/deploy/Production",
    "/tasks",
    "/tasks?state=failed",
    "/tasks/TASK",
    "/queue",
    "/spokes",
    "/targets",
    "/targets/web-1",
    "/targets/build-1",
    "/targets/build-1/host-key",
    "/targets/add",
    "/targets/add/ssh",
    "/targets/add/listening",
    "/targets/add/cloud",
    "/targets/new",
    "/packages",
    "/packages?id=storefront",
    "/audit",
    "/audit?action=deployment.create",
    "/keys",
    "/account",
    "/account/password",
    "/prove",
    "/nothing-here",
)
CHANGES_NOTHING_OF_MINE = {"/login", "/setup", "/static/<path:filename>"}


class Reader(HTMLParser):
    """Notes what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inside_label = 0
        self.unlabelled: list[dict[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        named = {name: value or "" for name, value in attrs}
        self.tags.append((tag, named))
        if tag == "label":
            self.inside_label += 1
        asks = tag in {"input", "select", "textarea"} and named.get("type") != "hidden"
        if asks and not self.inside_label and "aria-label" not in named:
            self.unlabelled.append(named)

    def handle_endtag(self, tag):
        if tag == "label":
            self.inside_label -= 1

    def all(self, *names: str) -> list[dict[str, str]]:
        return [named for tag, named in self.tags if tag in names]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_well_made(portal, ann, path):
    answer = ann.get(path.replace("TASK", portal.task))
    assert answer.status_code == (404 if path == "/nothing-here" else 200), answer.text[:500]
    page = Reader(answer.text)
    assert len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert "viewport" in {found.get("name") for found in page.all("meta")}
    assert not page.unlabelled, page.unlabelled
    assert all(found.get("scope") in {"col", "row"} for found in page.all("th"))
    assert all("style" not in named and not any(name.startswith("on") for name in named) for _, named in page.tags)
    assert all(found.get("src", "").startswith("/static/") for found in page.all("script"))
    addresses = [named.get(name) for _, named in page.tags for name in ("href", "src", "action") if named.get(name)]
    assert all(re.match(r"[/#?]", address) for address in addresses), addresses
    posts = [found for found in page.all("form") if found.get("method") == "post"]
    assert answer.text.count('name="csrf_token"') == len(posts)
    ids = [named["id"] for _, named in page.tags if named.get("id")]
    assert len(ids) == len(set(ids))


def test_every_page_is_among_these(portal):
    """A page that is added is looked at too."""
    shown = [path.split("?")[0].replace("TASK", portal.task) for path in PAGES] + ["/login", "/setup"]
    adapter = portal.app.url_map.bind("hub.example")
    reached = {adapter.match(path)[0] for path in shown if path != "/nothing-here"}
    pages = {
        rule.endpoint
        for rule in portal.app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.rule.startswith(("/api/", "/healthz", "/readyz", "/metrics"))
    }
    assert pages - reached == {"static", "tasks.raw"}


def test_nobody_signed_in_is_sent_to_the_door_and_comes_back(portal):
    visitor = portal.visitor()
    sent = visitor.get("/projects?q=store")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/login?next=/projects?q%3Dstore")
    visitor.get(sent.headers["Location"])
    portal.person("bea", "viewer")
    back = visitor.submit("/login", page=sent.headers["Location"], name="bea", password="correct horse battery staple")
    assert (back.status_code, back.headers["Location"]) == (303, "/projects?q=store")


def test_a_viewer_sees_everything_that_is_his_and_no_button_that_is_not(portal):
    vic = portal.signed_in("vic", "viewer")
    for path in ("/", "/projects/storefront", "/projects/storefront/releases/1.0.0", "/targets", "/targets/web-1"):
        page = vic.get(path)
        assert page.status_code == 200
        actions = set(re.findall(r'<form method="post"[^>]*action="([^"]*)"', page.text))
        assert actions <= {"/logout"}, (path, actions)
        assert "/deploy/" not in page.text
    assert vic.get("/audit").status_code == 403
    assert vic.get("/targets/new").status_code == 403
    assert "Audit" not in vic.get("/").text
    assert "<form" not in re.sub(
        r'(?s)<form method="post" action="/logout".*?</form>', "", vic.get("/tasks/" + portal.task).text
    )


def test_somebody_with_one_project_sees_that_one(portal):
    portal.api.post("/projects", {"name": "Foreign"})
    foreign = portal.api.get("/projects/foreign").json["id"]
    kim = portal.signed_in("kim", ("project-admin", foreign, None))
    assert "Storefront" not in kim.get("/").text
    assert "Storefront" not in kim.get("/projects").text
    assert "Storefront" not in kim.get("/tasks").text
    for path in (
        "/projects/storefront",
        "/projects/storefront/releases/1.0.0",
        f"/tasks/{portal.task}",
        f"/tasks/{portal.task}/log.txt",
    ):
        assert kim.get(path).status_code == 404, path


def test_secrets_are_on_no_page(portal, ann):
    for path in PAGES:
        assert "canary-5tr0ng" not in ann.get(path.replace("TASK", portal.task)).text


def test_the_plain_text_is_the_log_byte_for_byte(portal, ann):
    portal.print_lines(portal.task, "\x1b[31mred\x1b[0m", "half\rwhole", "tab\there", "<script>")
    answer = ann.get(f"/tasks/{portal.task}/log.txt")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="task-{portal.task}.txt"'
    for text in ("\x1b[31mred\x1b[0m", "half\rwhole", "tab\there", "<script>"):
        assert f"web-1 stdout {text}\n" in answer.text


def test_a_session_that_looks_is_seen_once_a_minute(portal, ann):
    with connection():
        before = {row.id_sha256: row.seen_at for row in Session.select()}
    for _ in range(5):
        ann.get("/")
    with connection():
        assert {row.id_sha256: row.seen_at for row in Session.select()} == before
