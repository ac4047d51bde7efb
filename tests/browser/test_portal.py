"""The portal in a real browser: keyboard, live log, resumed streams, a phone's width, both themes, no other host."""

import re

import pytest

from tests.fakes.feed import zip_of
from tests.fakes.portal_hub import PASSWORD

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/projects",
    "/projects/storefront",
    "/projects/storefront/releases/1.0.0",
    "/projects/storefront/releases/1.0.0/deploy/Development",
    "/tasks",
    "/tasks/TASK",
    "/targets",
    "/targets/web-1",
    "/targets/new",
    "/packages",
    "/packages?id=storefront",
    "/audit",
    "/account",
    "/account/password",
    "/login",
    "/setup",
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'></pre>"
# Text against what lies behind it, by the formula of WCAG 2.2; gives the texts below 4.5 : 1.
CONTRAST = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled, .skip, noscript *")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def test_a_deployment_by_keyboard_alone_and_its_log_line_by_line(site):
    site.portal.forget_limits()
    page = site.open()
    page.goto("/projects/storefront/releases/1.0.0/deploy/Development")
    assert page.url.endswith("/login?next=/projects/storefront/releases/1.0.0/deploy/Development")
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.address}/projects/storefront/releases/1.0.0/deploy/Development")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("Deploy 1.0.0"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/tasks/[0-9a-f]{32}$"))
    task = page.url.rsplit("/", 1)[1]
    page.wait_for_selector("#live[data-live=on]")
    for number in range(1, 4):
        site.portal.print_lines(task, f"line {number} of many")
        page.wait_for_selector(f"#log :text('line {number} of many')")
    site.portal.end_task(task)
    page.wait_for_selector("#task-state .state-succeeded")
    page.wait_for_selector("#live:text-is('ended')")
    page.wait_for_selector("#said:text-is('succeeded')", state="attached")


def test_a_stream_that_is_cut_goes_on_without_a_gap_and_without_a_double(site):
    """The server of these tests ends each stream after two seconds."""
    task = site.portal.deploy()
    page = site.signed_in()
    page.goto(f"/tasks/{task}")
    page.wait_for_selector("#live[data-live=on]")
    for number in range(1, 25):
        site.portal.print_lines(task, f"tick {number}")
        page.wait_for_timeout(200)
    page.wait_for_selector("#log :text('tick 24')")
    shown = page.locator("#log .text").all_inner_texts()
    assert [text for text in shown if text.startswith("tick")] == [f"tick {number}" for number in range(1, 25)]
    numbers = [int(text) for text in page.locator("#log .no").all_inner_texts()]
    assert numbers == list(range(1, len(numbers) + 1))
    site.portal.end_task(task)
    page.wait_for_selector("#live:text('ended')")


def test_a_long_log_opens_at_its_end_and_goes_back_to_its_beginning(site):
    task = site.portal.deploy()
    site.portal.print_lines(task, *(f"line {number}" for number in range(1, 3001)))
    site.portal.end_task(task)
    page = site.signed_in()
    page.goto(f"/tasks/{task}")
    page.wait_for_selector("#log :text-is('line 3000')")
    gap = "() => { const l = document.getElementById('log'); return l.scrollHeight - l.scrollTop - l.clientHeight; }"
    assert page.evaluate(gap) < 40
    assert page.locator("#follow").inner_text() == "Following"
    while page.locator("#earlier").is_visible():
        first = page.locator("#log .no").first.text_content()
        page.click("#earlier")
        page.wait_for_selector(f"#L{max(1, int(first) - 500)}", state="attached")
    assert page.locator("#log .no").first.text_content() == "1"
    page.goto(f"/tasks/{task}#L1500")
    page.reload()
    page.wait_for_selector("#L1500")
    page.wait_for_selector("#follow:has-text('Paused')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_can_be_read_in_both_themes(site, scheme):
    site.portal.print_lines(site.portal.task, "\x1b[31mred \x1b[94mblue \x1b[33myellow", "a" * 3000)
    page = site.signed_in(width=390, scheme=scheme)
    for path in PAGES:
        page.goto(path.replace("TASK", site.portal.task))
        if "TASK" in path:
            page.wait_for_selector("#log .line")
        for width in (390, 320):
            page.set_viewport_size({"width": width, "height": 700})
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, (path, width, wider)
        poor = page.evaluate(CONTRAST)
        assert not poor, (path, poor)


def look_at_the_log(site, *lines: str, target: str = "web-1"):
    """The page of an ended task that printed these lines, and the text of each as it is shown."""
    task = site.portal.deploy()
    site.portal.print_lines(task, *lines, target=target)
    site.portal.end_task(task)
    page = site.signed_in()
    page.goto(f"/tasks/{task}")
    page.wait_for_selector(f"#log .line:nth-child({len(lines)})")
    assert page.locator("#log a:not(.no), #log script, #log img, #log s, #log pre").count() == 0
    return page, [row.text_content() for row in page.locator("#log .text").all()][-len(lines) :]


def test_t144_whatever_a_script_prints_is_text_and_the_page_stays_quick(site):
    broken = b"half \xff\xfe utf-8 \xf0\x9f".decode("utf-8", "replace")
    page, shown = look_at_the_log(site, HOSTILE, "javascript:alert(6)", broken, "x" * 10_000_000, target="<s>t")
    assert shown[:3] == [HOSTILE, "javascript:alert(6)", broken]
    assert re.fullmatch(r"x{20000} … 9,980,000 more characters", shown[3])
    page.click("#levels")
    assert page.locator("#levels").get_attribute("aria-pressed") == "true"


def test_t145_a_hostile_name_is_inert_on_every_page(site):
    portal = site.portal
    for path, body in {
        "/environments": {"name": "<b onmouseover=alert(3)>E"},
        "/projects": {"name": "<img src=//evil.example/x onerror=alert(4)>", "description": HOSTILE},
        "/projects/storefront/variables": {"name": "Hostile", "value": HOSTILE, "description": HOSTILE},
        "/variable-sets": {"name": "<svg onload=alert(7)>"},
        "/releases": {"project": "Storefront", "version": "9.0.0", "notes": HOSTILE},
        "/api-keys": {"name": "<svg onload=alert(5)>", "days": 1},
        "/users": {"name": "<i>mallory", "display_name": HOSTILE},
        "/join-codes": {"name_pattern": "<b>*", "roles": ["<u>web"]},
    }.items():
        made = portal.api.post(path, body)
        assert made.status_code in {201, 400}, (path, made.text)
    portal.api.post("/targets/web-1/disable", {"reason": HOSTILE})
    try:
        page = site.signed_in()
        for path in (*PAGES, "/projects/storefront/releases/9.0.0", f"/projects?q={HOSTILE}", f"/login?next={HOSTILE}"):
            page.goto(path.replace("TASK", portal.task))
            strange = page.locator("main :is(img, script, b, i, u, s), [onmouseover], [onload], [onerror]")
            assert strange.count() == 0, path
    finally:
        portal.api.post("/targets/web-1/enable")


def test_t146_of_a_terminals_tricks_the_colours_stay_and_nothing_is_hidden(site):
    _, shown = look_at_the_log(
        site,
        "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
        "\x1b]0;title\x07\x1b[2J\x1b[H\x1b[?25lcursor \x1b[10;10Hmoved\x1b[3A",
        "rm -rf /\rharmless",
        "\x1b[31m" * 1_000_000 + "after many colours",
        "\u202egnp.exe\x00\x07 \x9b31mend",
        "\x1bP1$r evil \x1b\\seen \x1b_apc\x1b\\too",
    )
    assert shown[0] == "click"
    assert shown[1] == "cursor moved"
    assert shown[2] == "⟲1 harmless"
    assert shown[3] == "after many colours"
    assert shown[4] == "\ufffdgnp.exe\ufffd\ufffd \ufffd31mend"
    assert shown[5] == "seen too"


def test_t147_an_address_that_a_machine_gives_is_no_link(site):
    page, shown = look_at_the_log(
        site, "see https://evil.example/ and file:///etc/passwd", target="https://evil.example"
    )
    assert shown == ["see https://evil.example/ and file:///etc/passwd"]
    links = page.eval_on_selector_all("a", "found => found.map((a) => a.href)")
    assert all(link.startswith(site.address) for link in links)


def test_t164_a_script_that_came_into_a_page_is_not_run_and_no_page_is_framed(site):
    page = site.signed_in()
    page.goto("/projects")
    page.evaluate("""() => {
      window.ran = [];
      const inline = document.createElement("script");
      inline.textContent = "window.ran.push('inline')";
      document.body.append(inline);
      const attribute = document.createElement("div");
      attribute.innerHTML = "<img src=/nowhere onerror=\\"window.ran.push('attribute')\\">";
      document.body.append(attribute);
    }""")
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") == []
    frame = site.open()
    frame.goto("/login")
    frame.evaluate("() => { const f = document.createElement('iframe'); f.src = '/login'; document.body.append(f); }")
    frame.wait_for_timeout(500)
    assert all("Sign in" not in found.content() for found in frame.frames[1:])
    told = [words for words in site.complaints if "Content Security Policy" in words or "frame" in words.lower()]
    assert len(told) >= 3, site.complaints
    site.complaints.clear()


def test_t155_chromium_keeps_the_cookie_of_this_host_on_loopback_and_scripts_never_see_it(site):
    page = site.signed_in()
    kept = {cookie["name"]: cookie for cookie in page.context.cookies()}
    session = kept["__Host-manyarm"]
    assert (session["secure"], session["httpOnly"], session["sameSite"]) == (True, True, "Lax")
    assert page.evaluate("document.cookie") == ""


def test_a_package_is_uploaded_with_a_bar_that_moves(site, tmp_path):
    page = site.signed_in()
    page.goto("/packages")
    file = tmp_path / "uploaded.1.0.0.zip"
    file.write_bytes(zip_of(index=b"a page" * 10_000))
    page.set_input_files("input[type=file]", file)
    page.click("#upload button")
    page.wait_for_url("**/packages?id=uploaded")
    assert "1.0.0" in page.content()
    page.goto("/packages")
    broken = tmp_path / "broken.1.0.0.zip"
    broken.write_bytes(b"no zip")
    page.set_input_files("input[type=file]", broken)
    page.click("#upload button")
    page.wait_for_selector("[data-words]:not(:empty)")
    page.wait_for_selector("#upload button:enabled")
    assert page.locator("[data-words]").inner_text() not in {"", "Sent; the hub is looking through it."}
    site.complaints[:] = [words for words in site.complaints if "status of 4" not in words]


def test_without_scripts_everything_can_be_read_and_done(site):
    site.portal.forget_limits()
    page = site.open(java_script_enabled=False)
    page.goto("/login")
    page.fill("[name=name]", "ann")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.goto("/projects/storefront/releases/1.0.0/deploy/Development")
    page.click("main button.main")
    assert re.search(r"/tasks/[0-9a-f]{32}$", page.url)
    page.locator("noscript a").wait_for()
    page.click("#task-actions button")
    page.get_by_text("Asked to cancel").wait_for()
    page.click("text=Sign out")
    page.wait_for_url("**/login")


def test_the_dashboard_keeps_itself_fresh(site):
    page = site.signed_in()
    page.goto("/")
    task = site.portal.deploy()
    page.wait_for_selector(f"a.cell[href='/tasks/{task}']")
