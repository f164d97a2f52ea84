"""Feeds of verdicts: every change is told once, by a name that it keeps, and nothing in it can break a reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.changes import RecordedVerdict, changed_conditions, title, verdict_uuid, what_changed
from attestations.models import VerdictRecord
from attestations.services.verdicts import record_verdict
from builds.domain.roles import Role
from builds.models import Project, Rebuild, Release
from tests.support.records import records

ATOM = "{http://www.w3.org/2005/Atom}"

type MakeRelease = Callable[..., Release]
type MakeRebuild = Callable[..., Rebuild]


def feed(client: Client, address: str = "/feeds/all.atom", **headers: str) -> ET.Element:
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/atom+xml; charset=utf-8"
    return ET.fromstring(response.content)


def texts(root: ET.Element, name: str) -> list[str]:
    return [entry.findtext(f"{ATOM}{name}") or "" for entry in root.iter(f"{ATOM}entry")]


def links(element: ET.Element) -> dict[str, str]:
    return {link.attrib["rel"]: link.attrib["href"] for link in element.findall(f"{ATOM}link")}


@pytest.fixture
def changed(make_release: MakeRelease, make_rebuild: MakeRebuild) -> Release:
    """A release that was not rebuilt, then reproduced, then contradicted."""
    release = make_release("release/v1.0.0+tee")
    record_verdict(release.pk)
    make_rebuild(release, by="ada")
    record_verdict(release.pk)
    make_rebuild(release, by="eve", changed=(Role.INITRD,))
    record_verdict(release.pk)
    return release


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["all", "enclave", "enclave/release/v1.0.0+tee"])
def test_each_change_is_an_entry_with_its_words_newest_first(changed: Release, client: Client, address: str) -> None:
    root = feed(client, f"/feeds/{address}.atom")
    assert texts(root, "title") == [
        "enclave release/v1.0.0+tee: still deny",
        "enclave release/v1.0.0+tee: still deny",
        "enclave release/v1.0.0+tee: deny, first verdict",
    ]
    newest, older, first = texts(root, "content")
    kept = records(changed)
    assert kept[-1].sentence.replace("'", "&#x27;") in newest
    assert "The outcome is mismatched; it was reproduced." in newest
    assert "Operators: 1 reproduced, 1 contradict, 0 failed; before: 1 reproduced, 0 contradict, 0 failed." in newest
    assert "The condition reproduced-by-enough-operators is unmet, was unknown: " in newest
    assert "The outcome is reproduced; it was not rebuilt yet." in older
    assert "This is the first verdict of this release." in first


@pytest.mark.django_db
def test_an_entry_leads_to_the_release_and_to_the_signed_summary_of_that_moment(
    changed: Release, client: Client
) -> None:
    entries = list(feed(client).iter(f"{ATOM}entry"))
    for entry, record in zip(entries, reversed(records(changed)), strict=True):
        found = links(entry)
        assert found["alternate"] == f"http://testserver{changed.get_absolute_url()}"
        assert found["related"] == f"http://testserver/verdicts/{record.payload_sha256}.vsa.sigstore.json"
        assert client.get(found["alternate"]).status_code == client.get(found["related"]).status_code == 200
        assert datetime.fromisoformat(entry.findtext(f"{ATOM}updated") or "") == record.at


@pytest.mark.django_db
def test_names_do_not_change_with_the_host_and_addresses_do(changed: Release, client: Client, settings: Any) -> None:
    here = feed(client)
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_url": "https://tee.example.org"})
    there = feed(client)
    assert texts(here, "id") == texts(there, "id")
    assert len(set(texts(here, "id"))) == 3
    assert all(name.startswith("urn:uuid:") for name in texts(here, "id"))
    assert here.findtext(f"{ATOM}id") == there.findtext(f"{ATOM}id")
    assert links(there)["self"] == "https://tee.example.org/feeds/all.atom"
    assert links(there.find(f"{ATOM}entry"))["alternate"].startswith("https://tee.example.org/releases/")  # type: ignore[arg-type]


@pytest.mark.django_db
def test_a_reader_that_has_the_newest_is_told_so(changed: Release, client: Client, make_release: MakeRelease) -> None:
    first = client.get("/feeds/all.atom")
    assert first["Cache-Control"] == "public, max-age=300"
    by_tag = {"If-None-Match": first["ETag"]}
    by_time = {"If-Modified-Since": first["Last-Modified"]}
    for headers in (by_tag, by_time):
        again = client.get("/feeds/all.atom", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
    record_verdict(make_release("v2").pk)
    assert client.get("/feeds/all.atom", headers=by_tag).status_code == 200


@pytest.mark.django_db
def test_a_feed_is_bounded_and_costs_the_same_queries_for_one_and_for_many(
    make_release: MakeRelease, client: Client
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            feed(client)
        return len(queries)

    release = make_release()
    record_verdict(release.pk)
    Project.objects.update(needed_operators=3)
    record_verdict(release.pk)
    two = asked()
    for needed in range(4, 63):
        Project.objects.update(needed_operators=needed)
        record_verdict(release.pk)
    assert VerdictRecord.objects.count() == 61
    root = feed(client)
    assert len(texts(root, "id")) == 50
    assert "62 operators are needed; 61 were." in texts(root, "content")[0]
    assert asked() == two <= 3


@pytest.mark.django_db
def test_a_feed_without_a_change_is_one_and_stays_the_same(make_release: MakeRelease, client: Client) -> None:
    make_release("v1")
    for address in ("all", "enclave", "enclave/v1"):
        first, second = (client.get(f"/feeds/{address}.atom") for _ in range(2))
        assert first["ETag"] == second["ETag"]
        root = ET.fromstring(first.content)
        assert texts(root, "id") == []
        assert root.findtext(f"{ATOM}updated")


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["nobody", "enclave/v9", "nobody/v1", "enclave/v1.atom"])
def test_what_is_not_there_has_no_feed(make_release: MakeRelease, client: Client, address: str) -> None:
    make_release("v1")
    assert client.get(f"/feeds/{address}.atom").status_code == 404


@pytest.mark.django_db
def test_what_a_stranger_wrote_neither_breaks_the_feed_nor_becomes_markup(
    make_release: MakeRelease, client: Client
) -> None:
    release = make_release()
    hostile = "v1<script>\u202e\ufffe&'"
    VerdictRecord(
        release=release, at=datetime(2026, 1, 2, tzinfo=UTC), decision="deny", outcome="", needed=2, reproduced=0,
        contradicting=0, failed=0, conditions=[["k\x0c<b>", "unknown", "<img src=x onerror=y>\x01\ufffe"]],
        sentence="<script>alert(1)</script>\x08\u202eevil", basis="a" * 64, policy=b"", policy_sha256="b" * 64,
    ).save()  # fmt: skip
    Release.objects.filter(pk=release.pk).update(tag=hostile)
    raw = client.get("/feeds/all.atom").content
    root = ET.fromstring(raw)
    assert "\u202e" not in raw.decode()
    (said,) = texts(root, "content")
    assert "<script" not in said
    assert "&lt;script&gt;alert(1)&lt;/script&gt;�" in said
    assert texts(root, "title") == ["enclave v1<script>��&': deny, first verdict"]


@pytest.mark.django_db
def test_pages_name_their_feeds(make_release: MakeRelease, client: Client) -> None:
    release = make_release("release/v1")
    page = client.get(release.get_absolute_url()).content.decode()
    for address in ("/feeds/enclave/release/v1.atom", "/feeds/enclave.atom", "/feeds/all.atom"):
        assert f'href="{address}"' in page
    assert 'href="/feeds/all.atom"' in client.get("/").content.decode()


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VERDICTS = st.builds(
    RecordedVerdict,
    decision=st.sampled_from(["allow", "deny"]),
    outcome=st.sampled_from(["", "reproduced", "mismatched", "missing"]),
    needed=st.integers(1, 3),
    reproduced=st.integers(0, 3),
    contradicting=st.integers(0, 3),
    failed=st.integers(0, 3),
    conditions=st.dictionaries(WORDS, st.sampled_from(["met", "unmet", "unknown"]), max_size=4).map(
        lambda states: tuple((key, state, f"Sentence of {state}.") for key, state in states.items())
    ),
    sentence=WORDS,
)


@given(before=st.none() | VERDICTS, after=VERDICTS)
def test_something_is_always_said_of_a_change_and_each_changed_condition_is_named(
    before: RecordedVerdict | None, after: RecordedVerdict
) -> None:
    said = what_changed(before, after)
    assert said
    if before is not None:
        for entry in changed_conditions(before, after):
            assert entry.before != entry.after
            assert any(line.startswith(f"The condition {entry.key} is ") for line in said)
        assert ("The decision is" in " ".join(said)) is (before.decision != after.decision)


@given(after=VERDICTS, before=VERDICTS)
def test_a_title_is_one_line_that_says_the_decision_of_today(before: RecordedVerdict, after: RecordedVerdict) -> None:
    made = title("v1\n2", before, after)
    assert made.startswith("v1�2: ")
    assert after.decision in made
    assert (f"was {before.decision}" in made) is (before.decision != after.decision)


def test_the_name_of_a_verdict_never_changes() -> None:
    """A reader that has seen it must know it again in every later version."""
    name = verdict_uuid("enclave", "v1.0.0", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "a" * 64)
    assert str(name) == "8e3fc72d-b153-595a-9811-cab07ee315d1"
