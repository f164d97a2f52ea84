"""What pages and API say of operators, their keys, their signed results and the queue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from attestations.models import VerdictRecord
from attestations.services.verdicts import record_verdict
from builds.domain.dsse import parse_envelope
from builds.models import Operator, Project, Rebuild, RebuilderKey, RebuildStage, Release, StoredStatement
from builds.pipeline.signing import read_public_key
from builds.services import operators, queueing, rebuilding, running
from tests.portal.disputed import disputed
from tests.support.attacks import claim_of, hand_in, signed
from tests.support.operators import operator_named, portal_operator

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return disputed(make_release)


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.text


def api(client: Client, address: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page(client, f"/api/v1/{address}"))
    return found


def statement_by(operator: str) -> StoredStatement:
    return StoredStatement.objects.get(key__rebuilder__operator__slug=operator)


def test_the_release_names_each_operator_with_its_result_and_its_statement(client: Client, release: Release) -> None:
    shown = page(client, release.get_absolute_url())
    assert "Independent operators: 1 of 2 reproduced, 1 contradict, 0 failed" in shown
    for name in ("ada", "ben"):
        assert f'href="/rebuilders/{name}/"' in shown
        assert statement_by(name).get_absolute_url() in shown
    told = api(client, f"releases/{release.project.name}/{release.tag}")
    assert told["verdict"]["tally"] == {"needed": 2, "reproduced": 1, "contradicting": 1, "failed": 0}
    assert {row["operator_slug"]: (row["outcome"], row["counts"]) for row in told["results"]} == {
        "ada": ("reproduced", True),
        "ben": ("mismatched", True),
    }


def test_a_pending_operator_is_shown_with_the_reason_why_it_does_not_count(client: Client, release: Release) -> None:
    operator_named("new", accepted=False)
    hand_in(signed(release, "new").as_bytes())
    for address in ("/rebuilders/", "/rebuilders/new/", release.get_absolute_url()):
        assert "The operator is pending: no administrator has said who it is." in page(client, address)
    told = api(client, "rebuilders/new")
    assert (told["counts"], told["accepted_by"], told["identified_by"]) == (False, None, None)
    assert told["newest_results"][0]["counts"] is False


def test_a_tie_to_a_publisher_is_shown_where_it_matters_and_nowhere_else(client: Client, release: Release) -> None:
    operator = operators.find_operator("ada")
    operators.state_affiliation(operator, release.project, what="works for the publisher", by="Eve")
    assert "works for the publisher" in page(client, "/rebuilders/ada/")
    assert "The operator is tied to the publisher: works for the publisher" in page(client, release.get_absolute_url())
    (listed,) = [row for row in api(client, "rebuilders")["operators"] if row["slug"] == "ada"]
    assert listed["counts"] is True
    assert listed["ties"][0]["project"] == release.project.name


def test_a_revoked_key_is_marked_with_its_date_and_what_came_before_stays(client: Client, release: Release) -> None:
    fingerprint = operator_named("ada").public.fingerprint
    operators.revoke_key(fingerprint, reason="laptop stolen", by="Eve")
    shown = page(client, "/rebuilders/ada/")
    assert "laptop stolen (Eve)</bdi>. Results received before then stay." in shown
    assert "its key was revoked later" in shown
    assert "nothing new is taken" in shown
    assert "its key was revoked later" in page(client, release.get_absolute_url())
    (key,) = api(client, "rebuilders/ada")["rebuilders"][0]["keys"]
    assert key["state"] == "revoked"
    assert api(client, "rebuilders/ada")["newest_results"][0]["counts"] is True


def test_failures_are_no_part_of_an_operators_record(client: Client, release: Release) -> None:
    before = page(client, "/rebuilders/ada/")
    held = claim_of(operator_named("ada"), release)
    queueing.mark_lost(timezone.now() + timedelta(hours=1))
    assert Rebuild.objects.get(pk=held.rebuild_id).state == "lost"
    assert page(client, "/rebuilders/ada/") == before


def test_a_statement_page_shows_the_comparison_and_how_to_repeat_the_check(client: Client, release: Release) -> None:
    stored = statement_by("ben")
    shown = page(client, stored.get_absolute_url())
    assert "mismatched" in shown
    assert f"--bundle {stored.payload_sha256}.rebuild.sigstore.json --key {stored.payload_sha256}.rebuild.pub" in shown
    assert "--type https://slsa.dev/provenance/v1" in shown
    told = api(client, f"statements/{stored.payload_sha256}")
    assert (told["operator_slug"], told["outcome"], told["commit"]) == ("ben", "mismatched", release.commit)
    assert {row["role"]: row["outcome"] for row in told["comparisons"]} == {
        role: "mismatched" if role == "initrd" else "reproduced" for role in release.recipe_roles
    }
    assert (told["materials"], told["rebuilder"], told["key_state"]) == (1, "ben-1", "accepted")
    assert told["log_complete"] is None
    assert "none was handed in" in shown


def test_the_files_of_a_statement_are_what_was_signed_under_the_key_beside_them(
    client: Client, release: Release
) -> None:
    stored = statement_by("ada")
    told = api(client, f"statements/{stored.payload_sha256}")
    public = read_public_key(client.get(told["public_key"]).text)
    for address in (told["bundle"], told["envelope"], told["received"]):
        answer = client.get(address)
        assert answer["Content-Disposition"].startswith("attachment")
        envelope = parse_envelope(answer.content)
        public.verify(envelope)
        assert hashlib.sha256(envelope.payload).hexdigest() == stored.payload_sha256
    assert client.get(told["received"]).content == bytes(stored.content)
    assert client.get(f"/rebuilder-keys/{public.fingerprint}.pub").text == public.pem


def test_the_digest_of_each_input_of_a_signed_verdict_is_of_the_bytes_at_its_address(
    client: Client, release: Release, settings: Any
) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_url": "https://portal.invalid"})
    VerdictRecord.objects.all().delete()
    record = record_verdict(release.pk)
    assert record is not None
    payload = parse_envelope(bytes(record.envelope or b"")).payload
    inputs = json.loads(payload)["predicate"]["inputAttestations"]
    assert len(inputs) == 2
    for entry in inputs:
        content = client.get(entry["uri"].removeprefix("https://portal.invalid")).content
        assert hashlib.sha256(content).hexdigest() == entry["digest"]["sha256"]


def test_a_result_that_was_set_aside_stays_listed_with_the_reason(client: Client, release: Release) -> None:
    rebuild = statement_by("ben").rebuild
    operators.set_aside(rebuild, reason="faulty memory", by="Eve")
    for address in (release.get_absolute_url(), rebuild.get_absolute_url(), "/rebuilders/ben/"):
        assert "faulty memory" in page(client, address)
    assert api(client, f"rebuilds/{rebuild.pk}")["set_aside"] == "faulty memory"
    assert "Independent operators: 1 of 1 reproduced, 0 contradict" in page(client, release.get_absolute_url())


def test_a_rebuild_says_whether_it_counts_who_made_it_and_with_which_agent(client: Client, release: Release) -> None:
    operator_named("new", accepted=False)
    hand_in(signed(release, "new").as_bytes())
    rebuild = statement_by("new").rebuild
    shown = page(client, rebuild.get_absolute_url())
    assert 'href="/rebuilders/new/"' in shown
    assert "The operator is pending" in shown
    told = api(client, f"rebuilds/{rebuild.pk}")
    assert (told["counts"], told["rebuilder"], told["agent"]) == (False, "new-1", None)
    assert told["not_counted"].startswith("The operator is pending")


def test_a_claimed_rebuild_names_its_agent_and_does_not_say_yet_whether_it_counts(
    client: Client, release: Release
) -> None:
    held = claim_of(operator_named("cy"), release)
    Rebuild.objects.filter(pk=held.rebuild_id).update(worker="<b>agent</b> 0.1 on a machine")
    told = api(client, f"rebuilds/{held.rebuild_id}")
    assert (told["counts"], told["not_counted"], told["agent"]) == (None, None, "<b>agent</b> 0.1 on a machine")
    shown = page(client, f"/rebuilds/{held.rebuild_id}/")
    assert "&lt;b&gt;agent&lt;/b&gt; 0.1 on a machine" in shown
    assert "<dt>Counts</dt>" not in shown


def test_the_machine_of_the_portals_own_worker_is_not_for_strangers(client: Client, release: Release) -> None:
    portal_operator()
    rebuild = queueing.request_rebuild(release, running.local_rebuilder())
    assert rebuilding.claim(rebuild.pk, running.local_rebuilder(), "host-inside") is not None
    assert "host-inside" not in page(client, rebuild.get_absolute_url())
    assert "host-inside" not in page(client, "/queue/")
    assert api(client, f"rebuilds/{rebuild.pk}")["agent"] is None


@pytest.mark.parametrize("address", ["/rebuilds/{}/", "/api/v1/rebuilds/{}"])
def test_a_rebuilds_page_costs_no_more_for_more_ties_files_and_stages(
    client: Client, release: Release, address: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rebuild = statement_by("ben").rebuild
    for number in range(6):
        operator_named(f"tied-{number}")
        operators.state_affiliation(operators.find_operator(f"tied-{number}"), release.project, what="x", by="Eve")
        RebuildStage.objects.create(rebuild=rebuild, position=number, name=f"{number}", started_at=timezone.now())
    with django_assert_max_num_queries(11):
        page(client, address.format(rebuild.pk))


@pytest.mark.parametrize(
    "address", ["/rebuilders/", "/rebuilders/ada/", "/api/v1/rebuilders", "/api/v1/rebuilders/ada"]
)
def test_pages_of_operators_cost_no_more_for_more_operators_keys_and_results(
    client: Client, make_release: Callable[..., Release], release: Release, address: str,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    for number in range(5):
        operator_named(f"more-{number}")
        operator_named("ada", rebuilder=f"ada-{number + 2}")
        hand_in(signed(release, "ada").as_bytes())
    with django_assert_max_num_queries(11):
        page(client, address)


def test_what_operators_write_of_themselves_is_text(client: Client, release: Release) -> None:
    hostile = '<script>alert(1)</script>"><img src=x>'
    Operator.objects.filter(slug="ada").update(
        name=hostile[:80], contact=hostile, stated_affiliation=hostile, identified_by=hostile
    )
    addresses = ["/rebuilders/", "/rebuilders/ada/", "/queue/", release.get_absolute_url()]
    for address in [*addresses, statement_by("ada").get_absolute_url()]:
        shown = page(client, address)
        assert "<script>alert" not in shown
        assert "<img" not in shown


@pytest.mark.parametrize(
    "address",
    [
        "/rebuilders/nobody/",
        "/api/v1/rebuilders/nobody",
        f"/statements/{'0' * 64}/",
        "/statements/short/",
        "/statements/..%2f/",
        f"/statements/{'A' * 64}.dsse.json",
        f"/statements/{'0' * 64}.rebuild.pub",
        f"/api/v1/statements/{'\u0660' * 64}",
        f"/rebuilder-keys/{'0' * 64}.pub",
    ],
)
def test_what_is_not_there_is_404(client: Client, address: str) -> None:
    assert client.get(address).status_code == 404


def test_an_expired_key_reads_expired_and_one_that_nobody_vouched_for_pending(client: Client, release: Release) -> None:
    key = RebuilderKey.objects.get(rebuilder__operator__slug="ada")
    RebuilderKey.objects.filter(pk=key.pk).update(not_after=F("not_before") + timedelta(microseconds=1))
    assert "expired" in page(client, "/rebuilders/ada/")
    RebuilderKey.objects.filter(pk=key.pk).update(not_after=None, accepted_at=None)
    assert api(client, "rebuilders/ada")["not_counted"] == "The key is pending: nobody has vouched for it."


def test_without_any_operator_the_pages_say_so(client: Client) -> None:
    assert "Nobody has enrolled yet." in page(client, "/rebuilders/")
    assert "Nothing waits." in page(client, "/queue/")
    assert api(client, "rebuilders") == {"operators": [], "next": None}
    assert Project.objects.count() == 0
