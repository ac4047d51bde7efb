"""A real Chromium, a real portal on a port; whatever a page says to the console or asks of another host fails the test."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from hub.api.parts import ApiLimits
from tests.fakes.portal_hub import PASSWORD, PortalHub, running_portal
from tests.services.requires import requires

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DEBIANS = Path("/usr/bin/chromium")


@dataclass
class Site:
    """The portal as a browser sees it. `complaints`: console errors, CSP reports, dialogs, requests to elsewhere."""

    portal: PortalHub
    address: str
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, *, width: int = 1280, scheme: Any = "light", **options: Any) -> Page:
        """A new browser profile with one empty page."""
        size = {"width": width, "height": 800}
        context = self.browser.new_context(viewport=size, color_scheme=scheme, base_url=self.address, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self._complain(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: self._complain(f"script: {error}"))
        page.on("dialog", lambda dialog: (self._complain(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", self._look)
        return page

    def signed_in(self, name: str = "ann", **options: Any) -> Page:
        self.portal.forget_limits()
        page = self.open(**options)
        page.goto("/login")
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/")
        return page

    def _look(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self._complain(f"request to elsewhere: {request.url}")

    def _complain(self, words: str) -> None:
        self.complaints.append(words)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """For one file: while it is there an event loop runs in this thread, and no other test could run one of its own."""
    requires("chromium")
    path = str(DEBIANS) if DEBIANS.exists() else None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Site]:
    limits = ApiLimits(stream_s=2.0, stream_recheck_s=0.5)
    with running_portal(tmp_path_factory.mktemp("hub"), limits=limits) as portal:
        portal.task = portal.tell_story()
        portal.person("ann", "system-admin")
        with portal.served() as address:
            yield Site(portal, address, chromium)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The site, watched: a test that leaves a complaint has failed."""
    whole_site.complaints.clear()
    yield whole_site
    for context in whole_site.contexts:
        context.close()
    whole_site.contexts.clear()
    assert not whole_site.complaints, whole_site.complaints
