"""Every page in a real browser: both themes, wide and narrow, without a complaint, a violation or a foreign request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, expect

from tests.end_to_end.browsing import Watched
from tests.support.showcase import Showcase
from tests.support.showcase_data import NAME, PASSWORD

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.browser]

_RELEASE = "/releases/reference-enclave"
PAGES = {
    "home": "/",
    "releases": "/releases/",
    "search": "/search/?q=v1",
    "project": "/projects/reference-enclave/",
    "missing": "/projects/reference-enclave/missing/?tag=v1.0.1",
    "release": f"{_RELEASE}/v1.0.0/",
    "release-tampered": f"{_RELEASE}/v1.0.1/",
    "release-contradicting": f"{_RELEASE}/v1.0.0-mirror/",
    "release-impostor": f"{_RELEASE}/v1.0.2/",
    "measurement": "/measurements/{measurement}/",
    "component": "/components/sha256:{kernel}/",
    "rebuild": "/rebuilds/{reproduced}/",
    "rebuild-mismatched": "/rebuilds/{mismatched}/",
    "rebuild-running": "/rebuilds/{running}/",
    "rebuild-failed": "/rebuilds/{failed}/",
    "log": "/rebuilds/{reproduced}/log/",
    "statement": "/statements/{statement}/",
    "compare-releases": "/compare/reference-enclave/?from=v1.0.0&to=v1.0.1",
    "compare-rebuilds": "/compare/rebuilds/?from={reproduced}&to={mismatched}",
    "rebuilders": "/rebuilders/",
    "rebuilder": "/rebuilders/{operator}/",
    "queue": "/queue/",
    "meaning": "/what-a-verdict-means/",
    "sign-in": "/signin/",
}
OWN_PAGES = {
    "account": "/account/",
    "password": "/password/",
    "webhooks": "/account/webhooks/",
    "ask-for-a-rebuild": f"{_RELEASE}/v1.0.1/rebuild",
}
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
_WIDTHS = (360, 768, 2560)


@pytest.fixture(scope="module")
def pictures(pytestconfig: pytest.Config) -> Path:
    wanted = pytestconfig.getoption("pictures")
    return Path(wanted) if wanted else settings.DATA_DIR / "screenshots"


@pytest.fixture(scope="module")
def reader(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture(scope="module")
def account(browser: Browser, showcase: Showcase) -> Iterator[BrowserContext]:
    """Somebody who has signed in, with the form as everybody does."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{showcase.portal.address}/signin/")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.close()
    yield context
    context.close()


def look(context: BrowserContext, name: str, address: str, pictures: Path) -> list[str]:
    """What is wrong with a page, in every look."""
    wrong: list[str] = []
    watched = Watched(context.new_page())
    page = watched.page
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        if page.url == "about:blank":
            page.goto(address)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
        wrong += [f"{scheme} {width}: {found}" for found in watched.axe()]
        watched.picture(pictures / f"{name}-{scheme}-{width}.png")
    for width in _WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        if watched.overflows:
            wrong.append(f"wider than {width} px")
    origin = address.split("/", 3)
    wrong += watched.foreign_requests("/".join(origin[:3])) + watched.violations + watched.complaints
    page.close()
    return wrong


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_nothing_wrong_in_any_light_and_width(
    reader: BrowserContext, showcase: Showcase, pictures: Path, name: str
) -> None:
    address = showcase.portal.address + PAGES[name].format(**showcase.places)
    assert look(reader, name, address, pictures) == []


@pytest.mark.parametrize("name", OWN_PAGES)
def test_a_page_of_ones_own_has_nothing_wrong_either(
    account: BrowserContext, showcase: Showcase, pictures: Path, name: str
) -> None:
    assert look(account, name, showcase.portal.address + OWN_PAGES[name], pictures) == []


@pytest.fixture(scope="module")
def without_script(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(java_script_enabled=False)
    yield context
    context.close()


def said(context: BrowserContext, address: str) -> dict[str, list[str]]:
    """What a page has to say: its headings, what is written out as code, where it leads, what can be asked there."""
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    main = page.locator("main")
    links = main.locator("a[href]")
    found = {
        "headings": main.locator("h1, h2, h3").all_inner_texts(),
        "code": main.locator("code").all_text_contents(),
        "links": [link.get_attribute("href") or "" for link in links.all()],
        "fields": [field.get_attribute("name") or "" for field in main.locator("input, select, textarea").all()],
        "buttons": [name for name in main.locator("button").all_inner_texts() if "copy" not in name.lower()],
    }
    page.close()
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_all_of_it_to_who_runs_no_script_too(
    reader: BrowserContext, without_script: BrowserContext, showcase: Showcase, name: str
) -> None:
    address = showcase.portal.address + PAGES[name].format(**showcase.places)
    plain, whole = said(without_script, address), said(reader, address)
    # There may be more: what follows a run by itself is a link to be asked again.
    lacking = {what: list((Counter(texts) - Counter(plain[what])).elements()) for what, texts in whole.items()}
    assert not any(lacking.values()), lacking


def test_axe_would_find_what_is_wrong(browser: Browser) -> None:
    """The checks above can fail: this page breaks what they look for."""
    context = browser.new_context()
    watched = Watched(context.new_page())
    watched.page.set_content('<img src="data:,"><p style="color:#ccc;width:9000px">faint</p>')
    found: Any = watched.axe()
    assert {"image-alt", "color-contrast", "html-has-lang"} <= {entry.split(":")[0] for entry in found}
    assert watched.overflows
    context.close()
