"""What people do with the pages, in a real browser: find, read, compare, ask for a rebuild, watch it and stop it."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from builds.domain.materials import MaterialsLock
from tests.end_to_end.browsing import Watched
from tests.support.portal import Portal, publish
from tests.support.showcase import Showcase
from tests.support.showcase_data import NAME, PASSWORD
from tests.support.sources import DOCKERFILE, make_repository

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.browser]

_SECONDS = 60_000


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page of its own; the plugin's drags in a deprecated fixture."""
    context = browser.new_context()
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def without_script(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(java_script_enabled=False)
    yield context
    context.close()


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def find_and_compare(page: Page, showcase: Showcase) -> None:
    """The way of somebody who has a measurement out of a report and nothing else."""
    value = showcase.places["measurement"].upper()
    page.goto(showcase.portal.address)
    page.get_by_role("searchbox").fill(f"  0x{value[:40]} {value[40:]} ")
    page.get_by_role("button", name="Search").click()
    expect(heading(page)).to_have_text("Launch measurement")
    expect(page).to_have_url(f"{showcase.portal.address}/measurements/{value.lower()}/")

    page.get_by_role("link", name="reference-enclave v1.0.0", exact=True).click()
    expect(heading(page)).to_have_text("reference-enclave v1.0.0")
    expect(page.get_by_label("Verdict")).to_contain_text("(2 needed) rebuilt ")
    expect(page.get_by_label("Verdict")).to_contain_text("Allow.")

    page.get_by_role("link", name="run and log").first.click()
    expect(heading(page)).to_have_text("Rebuild of reference-enclave v1.0.0")
    expect(page.get_by_label("Outcome")).to_contain_text("reproduced")
    expect(page.get_by_role("heading", name="Files inside the initrd")).to_be_visible()

    page.get_by_role("link", name="Read by line").click()
    page.get_by_role("searchbox", name="Search the log").fill("BASE IMAGE OF")
    page.get_by_role("searchbox", name="Search the log").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 line holds")
    page.get_by_role("region", name="Lines found").get_by_role("link").first.click()
    expect(page.locator("#L4")).to_contain_text("base image of")

    page.get_by_role("link", name=re.compile("^a rebuild of")).click()
    page.get_by_role("link", name="Compare with another operator").click()
    page.get_by_role("link", name=re.compile("^Demo operator")).first.click()
    expect(page.get_by_label("In short")).to_contain_text("same bytes")


def test_a_newcomer_finds_release_rebuild_log_and_comparison_from_a_measurement(
    watched: Watched, showcase: Showcase
) -> None:
    find_and_compare(watched.page, showcase)
    assert watched.complaints == []
    assert watched.violations == []


def test_the_same_way_leads_through_without_script(without_script: BrowserContext, showcase: Showcase) -> None:
    find_and_compare(without_script.new_page(), showcase)


def test_two_releases_are_compared_with_a_warning_about_sealed_data(watched: Watched, showcase: Showcase) -> None:
    page = watched.page
    page.goto(f"{showcase.portal.address}/releases/reference-enclave/v1.0.1/")
    page.get_by_role("link", name="compare with the release before").click()
    expect(heading(page)).to_have_text("v1.0.0 and v1.0.1 of reference-enclave")
    expect(page.get_by_text("sealed data will not open")).to_be_visible()
    assert watched.complaints == []


def test_a_deployer_computes_the_measurement_of_an_own_configuration(watched: Watched, showcase: Showcase) -> None:
    page = watched.page
    page.goto(f"{showcase.portal.address}/releases/reference-enclave/v1.0.0/")
    own = page.get_by_role("region", name="For your launch configuration")
    expect(own).to_contain_text("The publisher published this value")
    page.get_by_text("Choose other vCPUs, CPU, command line").click()
    page.get_by_label("vCPUs (1 to 512)").fill("8")
    page.get_by_role("button", name="Compute the measurement").click()
    expect(own).to_contain_text("it follows from the same files")
    expect(own).to_contain_text("8 vCPUs")
    assert watched.complaints == []


def test_everything_is_reached_by_the_keyboard_alone(watched: Watched, showcase: Showcase) -> None:
    page = watched.page
    page.goto(showcase.portal.address)
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Skip to the content")
    expect(focused).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("v1.0.1")
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("reference-enclave v1.0.1")
    # Every stop is seen: it has an outline, and none is a place that nobody can name.
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert page.evaluate(
            "document.activeElement.matches('a, button, summary, input, select, textarea, [tabindex]')"
        )
    page.get_by_text("Choose other vCPUs, CPU, command line").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("vCPUs (1 to 512)")).to_be_visible()
    assert watched.complaints == []


def test_times_are_the_readers_and_utc_stays_in_the_title(browser: Browser, showcase: Showcase) -> None:
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB")
    page = context.new_page()
    page.goto(f"{showcase.portal.address}/rebuilds/{showcase.places['reproduced']}/")
    moment = page.locator("dd time").first
    written = moment.get_attribute("datetime") or ""
    expect(moment).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    hour = (int(written[11:13]) + 9) % 24
    expect(moment).to_contain_text(f"{hour:02}:{written[14:16]}")
    context.close()


def test_a_digest_is_copied_by_its_button(browser: Browser, showcase: Showcase) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{showcase.portal.address}/releases/reference-enclave/v1.0.0/")
    # The button has its own word back soon, which a busy machine sees too late.
    page.evaluate("window.setTimeout = () => 0")
    page.get_by_role("button", name=f"Copy {showcase.places['measurement']}").first.click()
    expect(page.get_by_text("copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == showcase.places["measurement"]
    context.close()


@pytest.fixture
def small(small_lock: MaterialsLock) -> Iterator[Portal]:
    """A portal with a worker and one small release whose build takes a while, and an account."""
    with tempfile.TemporaryDirectory(prefix="portal-") as directory:
        portal = Portal(Path(directory), settings.DOCKER_HOST, settings.MATERIAL_STORE)
        slow = DOCKERFILE.replace("RUN mkdir", "RUN echo '<b>marker</b>' && sleep 6 && mkdir")
        repository = make_repository(portal.root / "source", small_lock, Dockerfile=slow)
        kernel = b"a\nb\n"
        release = publish(portal.root / "release", repository, hashlib.sha256(kernel).hexdigest(), kernel)
        portal.manage("migrate", "--verbosity", "0")
        portal.manage("import_release", str(release), "--project", "small", "--source", repository.url)
        account = (
            f"from django.contrib.auth.models import User; User.objects.create_user({NAME!r}, password={PASSWORD!r})"
        )
        portal.manage("shell", "--no-imports", "--command", account)
        with portal.web(), portal.redis(), portal.worker():
            yield portal


def test_a_rebuild_is_asked_for_watched_live_and_seen_to_its_end(watched: Watched, small: Portal) -> None:
    page = watched.page
    ask(page, small)
    expect(page.locator("#log")).to_contain_text("<b>marker</b>", timeout=_SECONDS)
    outcome = page.get_by_label("Outcome")
    expect(outcome).to_contain_text("running")
    page.get_by_role("heading", name="Materials").scroll_into_view_if_needed()
    before = page.evaluate("document.getElementById('materials').getBoundingClientRect().top")
    expect(outcome).to_contain_text("reproduced", timeout=_SECONDS)
    # It came without reloading, and the reader stayed where the reader was.
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert abs(page.evaluate("document.getElementById('materials').getBoundingClientRect().top") - before) < 120
    asked = "performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/progress')).length"
    ended = page.evaluate(asked)
    page.wait_for_timeout(4500)
    assert page.evaluate(asked) == ended, "polling goes on after the end"
    assert [text for text in watched.complaints if "ERR_CONNECTION" not in text] == []
    assert watched.violations == []


def test_a_rebuild_is_joined_by_a_second_click_and_stopped_by_who_asked(watched: Watched, small: Portal) -> None:
    page = watched.page
    ask(page, small)
    live = page.url
    expect(page.locator("#log")).to_contain_text("<b>marker</b>", timeout=_SECONDS)
    page.goto(f"{small.address}/releases/small/v1/rebuild")
    page.get_by_role("button", name="Join the rebuild").click()
    expect(page).to_have_url(live)
    page.get_by_role("button", name="Cancel this rebuild").click()
    expect(page.get_by_label("Outcome")).to_contain_text("cancelled", timeout=_SECONDS)
    expect(page.get_by_label("Outcome")).to_contain_text("No evidence either way")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def ask(page: Page, portal: Portal) -> None:
    """From the release over signing in to the live page."""
    page.goto(f"{portal.address}/releases/small/v1/")
    page.get_by_role("link", name="Ask for a rebuild").last.click()
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(heading(page)).to_have_text("Rebuild small v1?")
    page.get_by_role("button", name="Start the rebuild").click()
    expect(heading(page)).to_have_text("Rebuild of small v1")
