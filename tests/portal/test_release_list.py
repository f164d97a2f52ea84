"""The list of releases: filters are honoured or told to be none, pages go both ways, and no row is greener than now."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher, VerdictRecord
from attestations.services import verdicts
from builds.domain.roles import Role
from builds.models import Project, Rebuild, Release, ReleaseEvent
from builds.services.release_events import CONTRADICTION, evidence_changed
from tests.portal.attested import attest_all
from tests.portal.test_pages import page

pytestmark = pytest.mark.django_db


def tags(client: Client, query: str = "") -> list[str]:
    response = client.get(f"/releases/?{query}")
    assert response.status_code == 200
    return re.findall(r'<th scope="row"><a href="/releases/[^/]+/([^"]+)/"', response.content.decode())


def allowed(release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain) -> Release:
    """A release of which everything holds, recorded as such."""
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    verdicts.record_verdict(release.pk)
    Release.objects.filter(pk=release.pk).update(judged_at=timezone.now() + timedelta(seconds=1))
    return release


def test_every_filter_keeps_what_fits(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    make_release("v1")
    make_rebuild(make_release("v2"))
    make_rebuild(make_release("v3"), changed=(Role.INITRD,))
    verdicts.record_due()
    assert tags(client) == ["v3", "v2", "v1"]
    assert tags(client, "project=enclave") == ["v3", "v2", "v1"]
    assert tags(client, "decision=deny") == ["v3", "v2", "v1"]
    assert tags(client, "decision=allow") == []
    assert tags(client, "outcome=mismatched") == ["v3"]
    assert tags(client, "outcome=reproduced") == ["v2"]
    assert tags(client, "outcome=not-yet") == ["v1"]
    assert tags(client, "measurement=differs") == ["v3"]
    assert tags(client, "measurement=matches") == ["v2"]
    assert tags(client, "attestation=unchecked") == ["v3", "v2", "v1"]
    assert tags(client, "attestation=verified") == []
    assert tags(client, "outcome=reproduced&measurement=differs") == []
    assert tags(client, "text=V2") == ["v2"]
    assert tags(client, f"text={'c' * 8}") == ["v3", "v2", "v1"]
    assert tags(client, "text=nothing") == []
    today = timezone.now().date()
    assert tags(client, f"since={today}&until={today}") == ["v3", "v2", "v1"]
    assert tags(client, f"until={today - timedelta(days=1)}") == []


def test_a_list_shows_fewer_operators_than_are_needed_as_open(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    Project.objects.update(needed_operators=2)
    make_rebuild(release)
    assert "reproduced by 1 of 2 needed" in page(client, "/releases/")
    Project.objects.update(needed_operators=1)
    caches["verdicts"].clear()
    assert "of 1 needed" not in page(client, "/releases/")


def test_the_last_day_that_there_is_can_be_asked_for(client: Client, make_release: Callable[..., Release]) -> None:
    make_release()
    assert tags(client, "since=0001-01-01&until=9999-12-31") == ["v1.0.0"]


def test_what_an_address_asks_for_stands_in_the_form_again(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    body = client.get("/releases/?decision=deny&text=v1&since=2026-01-02").content.decode()
    assert "<option selected>deny</option>" in body
    assert 'value="v1"' in body
    assert 'value="2026-01-02"' in body
    assert "Show all" in body


@pytest.mark.parametrize("query", ["decision=maybe", "project=nobody", "since=soon", "colour=red", "text=" + "x" * 300])
def test_what_is_no_filter_is_told_and_nothing_is_listed(
    client: Client, make_release: Callable[..., Release], query: str
) -> None:
    make_release()
    response = client.get(f"/releases/?{query}")
    assert response.status_code == 400
    body = response.content.decode()
    assert "Nothing is listed, since it would not be what was asked for" in body
    assert "/releases/enclave/v1.0.0/" not in body


def test_hostile_filter_values_are_shown_as_text(client: Client) -> None:
    body = client.get("/releases/", {"decision": "<script>alert(1)</script>\u202e"}).content.decode()
    assert "<script>alert" not in body
    assert "\u202e" not in body


def test_pages_go_to_older_and_back_to_newer(client: Client, make_release: Callable[..., Release]) -> None:
    for number in range(60):
        make_release(f"v{number}")
    first = tags(client)
    assert first == [f"v{number}" for number in range(59, 34, -1)]
    seen, address = list(first), "/releases/"
    while older := re.search(r'rel="next" href="([^"]+)"', client.get(address).content.decode()):
        address = f"/releases/{older[1]}".replace("&amp;", "&")
        seen += tags(client, address.partition("?")[2])
    assert seen == [f"v{number}" for number in range(59, -1, -1)]
    while newer := re.search(r'rel="prev" href="([^"]+)"', client.get(address).content.decode()):
        address = f"/releases/{newer[1]}".replace("&amp;", "&")
    assert tags(client, address.partition("?")[2]) == first
    filtered = client.get("/releases/?decision=deny").content.decode()
    assert "?decision=deny&amp;before=" in filtered
    assert client.get("/releases/?after=x").status_code == 404


def test_a_page_beyond_the_end_says_so(client: Client, make_release: Callable[..., Release]) -> None:
    release = make_release()
    assert "No release" not in page(client, "/releases/")
    assert tags(client, f"before={release.pk}") == []
    assert tags(client, f"after={release.pk}") == []


def test_a_release_whose_evidence_changed_is_not_listed_as_what_it_was(
    client: Client,
    publisher: ExpectedPublisher,
    release: Release,
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
) -> None:
    allowed(release, make_rebuild, domain)
    assert tags(client, "decision=allow") == ["v1.0.0"]
    ReleaseEvent(release=release, kind=CONTRADICTION, detail={"sentence": "kernel is another file."}).save()
    assert VerdictRecord.objects.filter(release=release).last().decision == "allow"  # type: ignore[union-attr]
    # Also where nobody has said yet that its evidence changed: what a row says is derived anew after some seconds.
    caches["verdicts"].clear()
    assert tags(client, "decision=allow") == []
    assert "by what is known now they do not" in page(client, "/releases/?decision=allow")
    evidence_changed(release)
    Release.objects.filter(pk=release.pk).update(evidence_changed_at=timezone.now() + timedelta(seconds=5))
    assert "v1.0.0" in tags(client, "decision=deny")
    assert tags(client, "decision=allow") == []


def test_a_record_of_before_the_axes_were_kept_is_looked_at_anew(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain
) -> None:
    allowed(release, make_rebuild, domain)
    VerdictRecord.objects.update(attestation="", measurement="")
    assert tags(client, "attestation=verified") == ["v1.0.0"]
    assert tags(client, "attestation=absent") == []
    assert tags(client, "measurement=matches") == ["v1.0.0"]


def test_a_record_keeps_the_axes_of_its_verdict(
    release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain
) -> None:
    allowed(release, make_rebuild, domain)
    record = VerdictRecord.objects.filter(release=release).last()
    assert record is not None
    assert (record.decision, record.attestation, record.measurement) == ("allow", "verified", "matches")


def test_the_list_costs_the_same_with_few_and_with_many(
    client: Client,
    publisher: ExpectedPublisher,
    make_release: Callable[..., Release],
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
) -> None:
    query = "project=enclave&decision=deny&outcome=mismatched&attestation=verified&measurement=differs"

    def costs() -> list[int]:
        found = []
        for address in ("/releases/", f"/releases/?{query}", "/", "/projects/enclave/", "/?x"):
            client.get(address)
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address).status_code == 200
            found.append(len(queries))
        return found

    def add(tag: str) -> None:
        release = make_release(tag)
        attest_all(release, domain)
        make_rebuild(release, by="alder")
        make_rebuild(release, by="birch", changed=(Role.INITRD,))
        verdicts.record_due()

    add("a")
    before = costs()
    for number in range(8):
        add(f"b{number}")
    assert costs() == before
    assert max(before) <= 12


def test_the_empty_list_says_what_to_do(client: Client) -> None:
    assert "No release has been imported yet" in page(client, "/releases/")


def test_a_long_tag_and_project_do_no_harm(client: Client, make_release: Callable[..., Release]) -> None:
    make_release("v" + "1" * 199)
    Project.objects.update(source_url="https://example.org/\u202e<b>")
    for address in ("/releases/", "/releases/?project=enclave", "/", "/projects/enclave/"):
        body = client.get(address).content.decode()
        assert "v" + "1" * 199 in body
        assert "\u202e" not in body
        assert "<b>" not in body
