"""An operator's record: how many of its results reproduced and contradict, page by page, and what is no part of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from builds.domain.comparison import RebuildOutcome, Subject
from builds.domain.roles import Role
from builds.models import Component, Operator, Rebuild, Release, StoredStatement
from builds.services import operator_pages, operators
from builds.services.evidence import outcome_of
from builds.services.release_events import evidence_changed
from tests.support.attacks import hand_in, signed
from tests.support.operators import digests, operator_named

pytestmark = pytest.mark.django_db

KERNEL, OTHER = digests(Role.KERNEL), digests("another kernel")
CLAIMS = ["", *(f"{name}:{facts[name]}" for facts in (KERNEL, OTHER) for name in ("sha256", "sha384"))]
NO_FILE: dict[str, str | int | None] = {"size": None, "sha256": "", "sha384": ""}


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.text


def api(client: Client, address: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page(client, f"/api/v1/{address}"))
    return found


def record(client: Client, slug: str) -> tuple[int, int, int]:
    (listed,) = [row for row in api(client, "rebuilders")["operators"] if row["slug"] == slug]
    told = api(client, f"rebuilders/{slug}")
    assert {name: told[name] for name in listed} == listed
    return told["reproduced"], told["contradicting"], told["other"]


@pytest.mark.parametrize("subject", [Subject.CONTENT, Subject.CONTAINER])
def test_the_record_counts_what_the_comparison_says_whatever_was_published(
    make_release: Callable[..., Release], subject: Subject
) -> None:
    release = make_release()
    Release.objects.update(recipe_roles=[])
    hand_in(signed(release, "same").as_bytes())
    hand_in(signed(release, "other", changed=(Role.KERNEL,)).as_bytes())
    hand_in(signed(release, "none", missing=(Role.KERNEL,)).as_bytes())
    kernel = Component.objects.filter(role=Role.KERNEL)
    seen = set()
    for claim, file in itertools.product(CLAIMS, (KERNEL, OTHER, NO_FILE)):
        kernel.update(claimed_digest=claim, claim_subject=subject, **file)
        counted = Rebuild.objects.counted_by_operator()
        for rebuild in Rebuild.objects.filter(statement__isnull=False).select_related("rebuilder"):
            same = outcome_of(rebuild) is RebuildOutcome.REPRODUCED
            seen.add(same)
            assert rebuild.rebuilder is not None
            assert counted[rebuild.rebuilder.operator_id] == (same, not same), (claim, file, rebuild)
    assert seen == {True, False}


def test_a_release_without_components_says_nothing_for_or_against_an_operator(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    assert record(client, "ada") == (1, 0, 0)
    Component.objects.all().delete()
    evidence_changed(release)
    assert record(client, "ada") == (0, 0, 1)


def test_reproduced_contradicting_and_no_evidence_are_counted_apart_and_failures_not_at_all(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    for parts in ({}, {}, {"changed": (Role.DISK,)}, {"materials": []}, {"network": True}):
        hand_in(signed(release, "ada", **parts).as_bytes())
    assert record(client, "ada") == (2, 1, 2)
    operators.set_aside(StoredStatement.objects.earliest("pk").rebuild, reason="faulty memory", by="Eve")
    assert record(client, "ada") == (1, 1, 3)
    rebuilder = Operator.objects.get(slug="ada").rebuilders.get()
    failure = {"code": "build-failed", "what": "x", "where": "x", "todo": "x"}
    Rebuild.objects.create(
        release=release, rebuilder=rebuilder, state="failed", failure=failure, finished_at=timezone.now()
    )
    assert record(client, "ada") == (1, 1, 3)
    for address in ("/rebuilders/", "/rebuilders/ada/"):
        assert "1 reproduced, 1 contradict, 3 no evidence" in page(client, address)


def test_the_list_says_who_is_pending_and_what_each_says_of_its_ties(
    client: Client, make_release: Callable[..., Release]
) -> None:
    hand_in(signed(make_release(), "ada").as_bytes())
    operator_named("new", accepted=False)
    Operator.objects.filter(slug="new").update(stated_affiliation="shares an office with the publisher")
    shown = page(client, "/rebuilders/")
    assert "shares an office with the publisher" in shown
    states = {row["slug"]: row["state"] for row in api(client, "rebuilders")["operators"]}
    assert states == {"ada": "accepted", "new": "pending"}
    assert shown.index(">Ada<") < shown.index(">New<")
    assert '<td data-of="Newest">none yet</td>' in shown
    assert "0 reproduced" not in shown


def test_results_are_shown_page_by_page_each_once_and_the_last_received_first(
    client: Client, make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_pages, "SHOWN_RESULTS", 2)
    release = make_release()
    for _ in range(5):
        hand_in(signed(release, "ada").as_bytes())
    expected = list(StoredStatement.objects.order_by("-pk").values_list("payload_sha256", flat=True))
    shown, sizes, query = [], [], ""
    while True:
        told = api(client, f"rebuilders/ada{query}")
        html = page(client, f"/rebuilders/ada/{query}")
        found = [row["statement"].removeprefix("sha256:") for row in told["newest_results"]]
        assert all(f"/statements/{name}/" in html for name in found)
        assert html.count("/statements/") == len(found)
        shown += found
        sizes.append(len(found))
        if told["next"] is None:
            break
        query = f"?before={told['next']}"
        assert f'href="{query}"' in html
    assert (shown, sizes) == (expected, [2, 2, 1])
    assert "Older results" not in html


@pytest.mark.parametrize("before", ["x", "-1", "1.5", "\u0661", "1e3"])
def test_a_page_of_results_that_is_none_is_refused(
    client: Client, make_release: Callable[..., Release], before: str
) -> None:
    hand_in(signed(make_release(), "ada").as_bytes())
    assert client.get(f"/rebuilders/ada/?before={before}").status_code == 404
    assert client.get(f"/api/v1/rebuilders/ada?before={before}").status_code == 422


def test_a_page_beyond_the_oldest_result_is_empty_and_says_so(
    client: Client, make_release: Callable[..., Release]
) -> None:
    hand_in(signed(make_release(), "ada").as_bytes())
    assert "None older." in page(client, "/rebuilders/ada/?before=0")
    assert "/statements/" in page(client, f"/rebuilders/ada/?before={'9' * 40}")
    assert client.get(f"/api/v1/rebuilders/ada?before={'9' * 40}").status_code == 422
