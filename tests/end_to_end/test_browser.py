"""The pages in a real browser: no script of strangers, no console error, and a log that lives."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from builds.domain.materials import MaterialsLock
from tests.end_to_end.conftest import FinishedDemo
from tests.support.portal import Portal, publish
from tests.support.sources import DOCKERFILE, make_repository

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own; the plugin's drags in a deprecated fixture."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def problems(page: Page) -> list[str]:
    """What the browser complains about: console errors, CSP violations, failed requests."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.append(message.text)

    page.on("console", hear)
    page.on("requestfailed", lambda request: found.append(f"failed: {request.url}"))
    return found


@pytest.fixture
def served(demo: FinishedDemo) -> Iterator[Portal]:
    """The finished demo's data behind a web server."""
    with tempfile.TemporaryDirectory(prefix="served-") as directory:
        data = {"TEE_PORTAL_DATA_DIR": str(demo.data), "DATABASE_URL": f"sqlite://{demo.data}/portal.sqlite3"}
        portal = Portal(Path(directory), settings.DOCKER_HOST, settings.MATERIAL_STORE, data)
        with portal.web():
            yield portal


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_tampered_release_can_be_read_in_any_light_and_width_without_a_complaint(
    browser: Browser, served: Portal, scheme: Any, width: int
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"http://127.0.0.1:{served.port}/releases/reference-enclave/v1.0.1/")
    expect(page.get_by_role("heading", level=1)).to_have_text("reference-enclave v1.0.1")
    expect(page.get_by_label("Verdict")).to_contain_text("initrd mismatched")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert complaints == []
    shots = settings.DATA_DIR / "screenshots"
    page.screenshot(path=shots / f"release-{scheme}-{width}.png", full_page=True)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_who_rebuilt_what_can_be_followed_from_the_release_to_the_key_without_a_complaint(
    browser: Browser, served: Portal, scheme: Any, width: int
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    shots = settings.DATA_DIR / "screenshots"

    def look(name: str, heading: str) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)

    page.goto(f"http://127.0.0.1:{served.port}/releases/reference-enclave/v1.0.1/")
    expect(page.get_by_role("heading", name="Independent operators")).to_contain_text("0 of 3 reproduced, 3 contradict")
    page.get_by_role("link", name="signed statement").first.click()
    look("statement", "Signed rebuild of reference-enclave v1.0.1")
    expect(page.get_by_label("Result")).to_contain_text("mismatched")
    expect(page.locator("pre")).to_have_count(3)
    page.get_by_role("link", name="this run").click()
    look("rebuild", "Rebuild of reference-enclave v1.0.1")
    page.get_by_role("link", name="Demo operator").click()
    look("operator", page.get_by_role("heading", level=1).inner_text())
    expect(page.get_by_label("Whether it counts")).to_contain_text("yes")
    page.get_by_role("link", name="Rebuilders", exact=True).click()
    look("rebuilders", "Rebuilders")
    expect(page.get_by_role("row", name="Demo operator").first).to_contain_text("1 reproduced, 1 contradict")
    page.get_by_role("link", name="Queue", exact=True).click()
    look("queue", "Queue")
    assert complaints == []
    context.close()


def test_a_reader_without_script_gets_every_page(browser: Browser, served: Portal) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.get_by_role("link", name="reference-enclave v1.0.0", exact=True).click()
    page.get_by_role("link", name="newest").click()
    expect(page.get_by_role("heading", name="Files inside the initrd")).to_be_visible()
    expect(page.locator("#log")).to_contain_text("base image of")
    context.close()


def test_the_log_and_state_of_a_running_rebuild_appear_without_reloading(
    page: Page, problems: list[str], small_lock: MaterialsLock
) -> None:
    with tempfile.TemporaryDirectory(prefix="portal-") as directory:
        portal = Portal(Path(directory), settings.DOCKER_HOST, settings.MATERIAL_STORE)
        slow = DOCKERFILE.replace("RUN mkdir", "RUN echo '<b>marker</b>' && sleep 4 && mkdir")
        repository = make_repository(portal.root / "source", small_lock, Dockerfile=slow)
        kernel = b"a\nb\n"
        release = publish(portal.root / "release", repository, hashlib.sha256(kernel).hexdigest(), kernel)
        portal.manage("migrate", "--verbosity", "0")
        portal.manage("import_release", str(release), "--project", "small", "--source", repository.url)
        with portal.web(), portal.redis(), portal.worker():
            rebuild = portal.manage("rebuild", "v1").split()[-2]
            page.goto(f"http://127.0.0.1:{portal.port}/rebuilds/{rebuild}/")
            expect(page.locator("#log")).to_contain_text("<b>marker</b>", timeout=60_000)
            expect(page.locator("#rebuild")).to_contain_text("running")
            expect(page.locator("#rebuild")).to_contain_text("reproduced", timeout=60_000)
            assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
        assert [text for text in problems if "ERR_CONNECTION" not in text] == []
