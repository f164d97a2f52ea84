"""Lists of the API: a page at a time, nothing twice and nothing left out, and what each entry says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.local_sigstore import TrustDomain
from attestations.models import FindingRecord, VerdictRecord
from attestations.services.verdicts import record_verdict
from builds.domain.roles import Role
from builds.models import Component, Operator, Rebuild, Release
from builds.services import operator_pages
from builds.services.rebuild_list import WantedRebuilds, rebuild_list
from tests.portal.attested import attest_all
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db


def pages(client: Client, address: str) -> Iterator[Any]:
    """Every page of a list, found as a script would: by the ``Link`` field alone."""
    for _ in range(20):
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        yield answer.json()
        link = answer.headers.get("Link")
        if link is None:
            assert answer.json()["next"] is None
            return
        found = re.fullmatch(r'<http://testserver(/[^>]+)>; rel="next"', link)
        assert found is not None
        address = found[1]
    raise AssertionError("the list does not end")


@pytest.fixture
def rebuilds(make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]) -> list[Rebuild]:
    """Five, the last queued first; three of them in the same moment."""
    made = [make_rebuild(make_release(f"v1.0.{number}"), by=name) for number, name in enumerate("abcde")]
    now = timezone.now()
    for number, row in enumerate(made):
        Rebuild.objects.filter(pk=row.pk).update(queued_at=now - timedelta(minutes=max(number, 2)))
    return list(Rebuild.objects.order_by("-queued_at", "-pk"))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_of_rebuilds_hold_each_once_in_order(client: Client, rebuilds: list[Rebuild], limit: int) -> None:
    seen = [row["id"] for page in pages(client, f"/api/v1/rebuilds?limit={limit}") for row in page["rebuilds"]]
    assert seen == [str(row.pk) for row in rebuilds]


def test_a_rebuild_queued_between_two_pages_moves_nothing(client: Client, rebuilds: list[Rebuild]) -> None:
    first = client.get("/api/v1/rebuilds?limit=2").json()
    Rebuild.objects.create(release=rebuilds[0].release)
    second = client.get(f"/api/v1/rebuilds?limit=2&before={first['next']}").json()
    assert [row["id"] for row in second["rebuilds"]] == [str(row.pk) for row in rebuilds[2:4]]


def test_filters_of_rebuilds_are_exact_and_kept_on_the_next_page(client: Client, rebuilds: list[Rebuild]) -> None:
    Rebuild.objects.create(release=rebuilds[0].release)
    queued = client.get("/api/v1/rebuilds?state=queued").json()["rebuilds"]
    assert [row["state"] for row in queued] == ["queued"]
    ended = [row for page in pages(client, "/api/v1/rebuilds?state=succeeded&limit=2") for row in page["rebuilds"]]
    assert len(ended) == 5
    tag = rebuilds[3].release.tag
    (one,) = client.get(f"/api/v1/rebuilds?project=enclave&tag={tag}&state=succeeded").json()["rebuilds"]
    assert (one["id"], one["project"], one["tag"]) == (str(rebuilds[3].pk), "enclave", tag)
    assert client.get("/api/v1/rebuilds?project=other").json() == {"rebuilds": [], "next": None}


@pytest.mark.parametrize(
    ("query", "status"),
    [("state=reproduced", 422), ("before=00000000-0000-0000-0000-000000000000", 404), ("limit=101", 422)],
)
def test_a_question_for_rebuilds_that_means_nothing_is_refused(client: Client, query: str, status: int) -> None:
    assert client.get(f"/api/v1/rebuilds?{query}").status_code == status


def test_a_page_of_rebuilds_costs_two_queries(
    rebuilds: list[Rebuild], django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(2):
        page = rebuild_list(WantedRebuilds(), before=rebuilds[0].pk, size=3)
        assert [row.operator_name for row in page.rebuilds]
        assert [row.release.project.name for row in page.rebuilds]


def test_pages_of_releases_lead_to_each_other(client: Client, make_release: Callable[..., Release]) -> None:
    tags = [make_release(f"v1.0.{number}").tag for number in range(5)]
    seen = [row["tag"] for page in pages(client, "/api/v1/releases?limit=2") for row in page["releases"]]
    assert seen == tags[::-1]


def test_rebuilders_are_listed_with_keys_and_what_their_results_say(client: Client, rebuilds: list[Rebuild]) -> None:
    seen = {row["slug"]: row for page in pages(client, "/api/v1/rebuilders?limit=2") for row in page["operators"]}
    assert len(seen) == Operator.objects.count()
    told = seen["a"]
    assert (told["results"], told["reproduced"], told["contradicting"], told["failed"]) == (1, 1, 0, 0)
    (key,) = told["keys"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", key["fingerprint"])
    assert key["state"] == "accepted"
    assert client.get("/api/v1/rebuilders?after=nobody").status_code == 404


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_rebuilders_hold_each_once_those_that_wait_last(client: Client, db: None, limit: int) -> None:
    for name, accepted in (("zed", True), ("abe", False), ("ada", True), ("ben", False), ("a-1", True)):
        operator_named(name, accepted=accepted)
    seen = [row["slug"] for page in pages(client, f"/api/v1/rebuilders?limit={limit}") for row in page["operators"]]
    assert (set(seen[:3]), set(seen[3:])) == ({"a-1", "ada", "zed"}, {"abe", "ben"})
    assert len(seen) == 5
    assert seen == [row.operator.slug for row in operator_pages.operator_standings()]


def test_a_page_of_rebuilders_reads_its_own_rows_and_no_others(client: Client, db: None) -> None:
    for number in range(6):
        operator_named(f"operator-{number}")
    operator_pages.operators_after(None, 1)
    for after in (None, "operator-2"):
        with CaptureQueriesContext(connection) as captured:
            shown, more = operator_pages.operators_after(after, 2)
        assert [row.operator.slug for row in shown] == (
            ["operator-0", "operator-1"] if after is None else ["operator-3", "operator-4"]
        )
        assert more == shown[-1].operator.slug
        assert "LIMIT 3" in next(entry["sql"] for entry in captured if "COUNT(" in entry["sql"])


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 100])
def test_findings_are_led_through_by_the_link_alone(
    client: Client, release: Release, domain: TrustDomain, limit: int
) -> None:
    attest_all(release, domain)
    FindingRecord.objects.update(found_at=timezone.now())
    seen: list[str] = []
    address = f"/api/v1/attestations?repository=https://github.com/example/enclave&limit={limit}"
    for _ in range(10):
        answer = client.get(address)
        seen += [row["role"] for row in answer.json()]
        if "Link" not in answer:
            break
        address = re.fullmatch(r'<http://testserver(/[^>]+)>; rel="next"', answer["Link"])[1]  # type: ignore[index]
        assert "repository=" in address
    assert sorted(seen) == sorted(role.value for role in Role)
    assert client.get("/api/v1/attestations?before=999999").json()["code"] == "not-found"


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_recorded_verdicts_hold_each_once_the_newest_first(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild], limit: int
) -> None:
    release, other = make_release(), make_release("v2")
    for name in "abc":
        make_rebuild(release, by=name)
        record_verdict(release.pk)
    record_verdict(other.pk)
    address = f"/api/v1/verdicts/enclave/v1.0.0?limit={limit}"
    seen = [row["at"] for page in pages(client, address) for row in page["history"]]
    assert len(set(seen)) == len(seen) == VerdictRecord.objects.filter(release=release).count() >= 3
    assert seen == sorted(seen, reverse=True)
    elsewhere = VerdictRecord.objects.filter(release=other).latest("at").pk
    assert client.get(f"{address}&before={elsewhere}").status_code == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_a_digest_is_told_with_everything_that_has_it(client: Client, rebuilds: list[Rebuild], algorithm: str) -> None:
    component = Component.objects.filter(release=rebuilds[0].release, role="kernel").get()
    told = client.get(f"/api/v1/components/{algorithm}:{getattr(component, algorithm)}").json()
    assert told["digest"] == f"{algorithm}:{getattr(component, algorithm)}"
    other = "sha384" if algorithm == "sha256" else "sha256"
    assert told["same_file"] == [f"{other}:{getattr(component, other)}"]
    assert {row["role"] for row in told["published"]} == {"kernel"}
    assert {row["operator"] for row in told["rebuilt"]} == set("ABCDE")
    assert told["material"] is None


def test_bytes_that_nobody_saw_are_not_there_and_not_suspect(client: Client) -> None:
    answer = client.get(f"/api/v1/components/sha256:{'0' * 64}")
    assert answer.status_code == 404
    assert "for or against" in answer.json()["todo"]


@pytest.mark.parametrize("digest", ["md5:00", "sha256:xyz", "abc", f"sha256:{'0' * 63}"])
def test_what_is_no_digest_is_malformed(client: Client, digest: str) -> None:
    assert client.get(f"/api/v1/components/{digest}").status_code == 400
