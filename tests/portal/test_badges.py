"""Badges: the verdict of this moment, for every release, also where they are embedded elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from builds.domain.roles import Role
from builds.models import Rebuild, Release

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]
type MakeRebuild = Callable[..., Rebuild]

ADDRESSES = ["enclave", "enclave/v1.0.0"]


def said(response: HttpResponse) -> str:
    return ET.fromstring(response.content).findtext("{http://www.w3.org/2000/svg}title") or ""


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_badge_says_what_the_verdict_is_at_this_moment_and_not_what_was_recorded(
    make_release: MakeRelease, make_rebuild: MakeRebuild, client: Client, address: str
) -> None:
    release = make_release()
    assert said(client.get(f"/badges/{address}.svg")) == "TEE image v1.0.0: deny · not rebuilt yet"
    make_rebuild(release, by="ada", changed=(Role.INITRD, Role.DISK))
    assert said(client.get(f"/badges/{address}.svg")) == "TEE image v1.0.0: deny · initrd and 1 more mismatched"
    make_rebuild(release, by="ben")
    answer = client.get(f"/badges/{address}.json")
    assert answer.json() == {
        "schemaVersion": 1,
        "label": "TEE image v1.0.0",
        "message": "deny · disputed",
        "color": "a20d25",
        "isError": True,
    }


@pytest.mark.parametrize("form", ["svg", "json"])
@pytest.mark.parametrize("address", ["nobody", "enclave/v9", "nobody/v1", "enclave/v1.0.0/x"])
def test_what_is_not_there_has_a_badge_that_says_unknown_and_is_no_success(
    make_release: MakeRelease, client: Client, address: str, form: str
) -> None:
    make_release()
    answer = client.get(f"/badges/{address}.{form}")
    assert answer.status_code == 404
    if form == "svg":
        assert said(answer) == "TEE image: unknown"
        assert "0f6128" not in answer.content.decode()
    else:
        assert (answer.json()["message"], answer.json()["isError"]) == ("unknown", True)


def test_the_projects_badge_is_of_its_newest_version_however_late_another_is_imported(
    make_release: MakeRelease, client: Client
) -> None:
    newest = make_release("v3")
    make_release("v2")
    Release.objects.filter(pk=newest.pk).update(source_date_epoch=newest.source_date_epoch + 60)
    assert said(client.get("/badges/enclave.svg")).startswith("TEE image v3: ")


def test_a_tag_with_slashes_has_a_badge_and_an_endless_one_is_cut(make_release: MakeRelease, client: Client) -> None:
    make_release("release/v1.0+tee")
    assert said(client.get("/badges/enclave/release/v1.0%2Btee.svg")).startswith("TEE image release/v1.0+tee: ")
    long = "v" + "9" * 190
    make_release(long)
    answer = client.get(f"/badges/enclave/{long}.svg")
    assert said(answer).startswith(f"TEE image {long[:39]}…: ")


def test_a_hostile_tag_is_text_in_its_badge(make_release: MakeRelease, client: Client) -> None:
    make_release('"><script>alert(1)</script>\u202e')
    answer = client.get("/badges/enclave.svg")
    assert b"<script" not in answer.content
    assert "\u202e" not in answer.content.decode()
    assert said(answer).startswith('TEE image "><script>alert(1)</script>')


@pytest.mark.parametrize("form", ["svg", "json"])
def test_a_badge_is_kept_for_a_minute_and_can_be_embedded_anywhere(
    make_release: MakeRelease, make_rebuild: MakeRebuild, client: Client, form: str
) -> None:
    release = make_release()
    first = client.get(f"/badges/enclave.{form}")
    assert first["Cache-Control"] == "public, max-age=60"
    assert first["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Set-Cookie" not in first
    assert client.get(f"/badges/enclave.{form}", headers={"If-None-Match": first["ETag"]}).status_code == 304
    make_rebuild(release)
    assert client.get(f"/badges/enclave.{form}", headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_an_svg_that_is_opened_may_load_and_run_nothing(make_release: MakeRelease, client: Client) -> None:
    make_release()
    answer = client.get("/badges/enclave.svg")
    assert answer["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_badge_costs_the_same_queries_for_one_release_and_for_many(
    make_release: MakeRelease, make_rebuild: MakeRebuild, client: Client
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get("/badges/enclave.svg")
        return len(queries)

    make_rebuild(make_release())
    one = asked()
    for number in range(5):
        release = make_release(f"v2.{number}")
        for name in ("ada", "ben", "cyd"):
            make_rebuild(release, by=name)
    assert asked() == one


def test_pages_say_how_they_are_shown_where_they_are_shared(
    make_release: MakeRelease, make_rebuild: MakeRebuild, client: Client, settings: Any
) -> None:
    rebuild = make_rebuild(make_release(contradiction="The manifest says otherwise. " * 20), by="ada")
    Release.objects.update(tag='v1"><b>')
    release = Release.objects.get()
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_url": "https://tee.example.org"})
    page = client.get(release.get_absolute_url()).content.decode()
    assert '<meta property="og:title" content="enclave v1&quot;&gt;&lt;b&gt;">' in page
    assert f'<meta property="og:url" content="https://tee.example.org{release.get_absolute_url()}">' in page
    description = page.partition('og:description" content="')[2].partition('"')[0]
    assert description.startswith("The published files contradict their own manifest. The manifest says otherwise.")
    assert description.endswith("…")
    assert 200 < len(description) <= 300
    for address in (rebuild.get_absolute_url(), f"/statements/{rebuild.statement.payload_sha256}/"):
        shared = client.get(address).content.decode()
        assert f'og:url" content="https://tee.example.org{address}">' in shared
        assert 'og:description" content="' in shared
