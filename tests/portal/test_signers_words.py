"""What a signer says beside its digests: it may make a verdict worse by counting, and can do nothing else to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from attestations.services.standing import judged_view
from builds.domain.conditions import MOST_LISTED
from builds.domain.roles import Role
from builds.models import Component, RebuiltFile, RebuiltMeasurement, Release, StoredStatement
from builds.services import submitting
from tests.support.attacks import Trace, hand_in, refusal, signed, signed_by
from tests.support.operators import operator_named, result_of
from tests.support.statements import digest_hex

pytestmark = pytest.mark.django_db

REGISTRY_IMAGE = f"rust:1@sha256:{'a' * 64}"


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced."""
    release = make_release()
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    return release


def condition(release: Release, key: str) -> tuple[str, str]:
    view, _ = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    (found,) = (entry for entry in view.verdict.conditions if entry.key == key)
    return found.state.value, found.sentence


@pytest.mark.parametrize("image", ["x", "img@sha256:zz", 7, "", REGISTRY_IMAGE])
@pytest.mark.parametrize("accepted", [False, True])
def test_no_base_image_that_a_signer_names_reaches_verdict_or_pages(
    release: Release, client: Client, image: str | int, accepted: bool
) -> None:
    before = Trace.of(release)
    signer = operator_named("newcomer", accepted=accepted)
    answer = hand_in(signed_by(signer, release, environment={"base_image": image}).as_bytes())
    assert answer.status_code == 201
    assert Trace.of(release).reproduced == before.reproduced + accepted
    assert condition(release, "opaque-inputs-accepted")[0] == "met"
    for address in ("/", release.get_absolute_url(), "/api/v1/releases", "/rebuilders/newcomer/"):
        assert client.get(address).status_code == 200


def test_a_base_image_that_the_recipe_pulls_is_opaque_whoever_leaves_it_out(release: Release) -> None:
    Release.objects.update(needs_registry=True, base_image=REGISTRY_IMAGE)
    state, sentence = condition(release, "opaque-inputs-accepted")
    assert state == "unmet"
    assert f"base image (sha256:{'a' * 64})" in sentence
    release.project.accepted_opaque_inputs.create(sha256="a" * 64, reason="looked at")
    assert condition(release, "opaque-inputs-accepted")[0] == "met"


def test_a_pulled_base_image_that_is_not_known_is_unknown(release: Release) -> None:
    Release.objects.update(needs_registry=True)
    state, sentence = condition(release, "opaque-inputs-accepted")
    assert state == "unknown"
    assert "which one is not known here" in sentence


def measured(release: Release, **changed: Any) -> list[dict[str, Any]]:
    (entry,) = result_of(release, "x")["predicate"]["runDetails"]["byproducts"][3]["annotations"]["entries"]
    return [{**entry, **changed}]


@pytest.mark.parametrize(
    "changed",
    [
        {"commandLine": "console=ttyS0 x"},
        {"guestFeatures": 33},
        {"vmm": "ec2"},
        {"vcpus": 5},
        {"vcpuType": "EPYC"},
    ],
)
def test_a_measurement_of_another_launch_is_not_held_against_the_release(
    release: Release, changed: dict[str, Any]
) -> None:
    state, _ = condition(release, "measurements-recompute")
    entries = measured(release, value="f" * 96, **changed)
    assert hand_in(signed(release, "mallory", measurements=entries).as_bytes()).status_code == 201
    assert condition(release, "measurements-recompute")[0] == state == "met"
    row = RebuiltMeasurement.objects.get(rebuild__rebuilder__operator__slug="mallory")
    assert row.value == ""
    assert row.problem is not None
    assert "the rebuild measured no direct_kernel launch configuration" in row.problem["what"]


ERROR = {"code": "x", "what": "x", "where": "x", "todo": "x"}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"value": ""}], "a value or a problem"),
        ([{"value": "", "problem": {}}], "problem.code"),
        ([{"value": "", "problem": {"what": "x"}}], "problem.code"),
        ([{"value": "", "problem": {**ERROR, "more": "x"}}], "more"),
        ([{"problem": ERROR}], "a value or a problem"),
        ([{}, {"name": "again", "value": "e" * 96}], "has two measurements"),
    ],
)
def test_a_measurement_that_is_not_one_thing_is_refused(
    release: Release, entries: list[dict[str, Any]], words: str
) -> None:
    stated = [entry for changed in entries for entry in measured(release, **changed)]

    def change(document: dict[str, Any]) -> None:
        document["predicate"]["runDetails"]["byproducts"][3]["annotations"]["entries"] = stated

    before = Trace.of(release)
    data = signed(release, "ada", change=change).as_bytes()
    answered, named, what = refusal(hand_in(data))
    assert (answered, named) == (400, "malformed-rebuild-statement")
    assert words in what
    assert Trace.of(release) == before


def test_why_there_is_no_measurement_is_shown_where_it_is_asked_for(
    make_release: Callable[..., Release], client: Client
) -> None:
    release = make_release()
    entries = measured(release, value="", problem={**ERROR, "what": "the firmware has no metadata"})
    hand_in(signed(release, "ben", measurements=entries).as_bytes())
    for address in (f"/api/v1/releases/enclave/{release.tag}", release.get_absolute_url()):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "the firmware has no metadata" in answer.content.decode()


def test_a_clock_that_is_ahead_makes_no_result_newer_than_a_later_contradiction(release: Release) -> None:
    ahead = timezone.now() + timedelta(minutes=4)
    hand_in(signed(release, "mallory", finished=ahead).as_bytes())
    assert Trace.of(release).reproduced == 2
    other = operator_named("mallory", rebuilder="mallory-2")
    hand_in(signed_by(other, release, changed=(Role.INITRD,)).as_bytes())
    assert (Trace.of(release).reproduced, Trace.of(release).contradicting) == (1, 1)


def files(count: int, kind: str) -> list[dict[str, Any]]:
    origin = {"role": "initrd", "size": 1, "originKind": kind, "origin": "x"}
    return [{**origin, "path": f"f{number}", "sha256": f"{number:064x}"} for number in range(count)]


def test_files_that_decide_nothing_are_not_loaded_for_a_verdict(release: Release) -> None:
    honest = result_of(release, "x")["predicate"]["runDetails"]["byproducts"][2]["annotations"]["entries"]
    hand_in(signed(release, "ben", files=[*honest, *files(500, "built")]).as_bytes())
    newcomer = operator_named("newcomer", accepted=False)
    hand_in(signed_by(newcomer, release, files=files(500, "opaque")).as_bytes())
    assert RebuiltFile.objects.count() == 1 + 501 + 500
    loaded = Release.objects.with_evidence().get(pk=release.pk).results  # type: ignore[attr-defined]
    assert sorted(len(row.files.all()) for row in loaded) == [0, 1, 1]
    assert condition(release, "measurement-covers-what-boots")[0] == "met"
    assert condition(release, "opaque-inputs-accepted")[0] == "met"


def test_a_flood_of_opaque_files_is_counted_and_not_listed(release: Release, client: Client) -> None:
    hand_in(signed(release, "ben", files=files(500, "opaque")).as_bytes())
    state, sentence = condition(release, "opaque-inputs-accepted")
    assert state == "unmet"
    assert sentence.count("sha256:") == MOST_LISTED
    assert f"and {500 - MOST_LISTED} more" in sentence
    page = client.get(release.get_absolute_url()).content.decode()
    assert "and 450 more" in page
    assert len(page) < 100_000


def test_pending_operators_together_fill_no_more_than_their_share(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (operator_named(name, accepted=False) for name in ("one", "other"))
    assert hand_in(signed_by(one, release).as_bytes()).status_code == 201
    monkeypatch.setattr(submitting, "MAX_TRIAL_BYTES", 1000)
    before = StoredStatement.objects.count()
    answered, named, what = refusal(hand_in(signed_by(other, release).as_bytes()))
    assert (answered, named, what) == (403, "trials-full", "1000 bytes of pending operators are kept already")
    assert hand_in(signed(release, "ben").as_bytes()).status_code == 201
    assert StoredStatement.objects.count() == before + 1


def test_what_is_signed_twice_about_one_launch_with_one_value_is_taken(release: Release) -> None:
    entries = [*measured(release), *measured(release, name="the same under another name")]
    told = json.loads(hand_in(signed(release, "ben", measurements=entries).as_bytes()).content)
    assert told["notCounted"] == ""
    assert digest_hex("d", 96) == RebuiltMeasurement.objects.get(rebuild=told["rebuild"]).value


def test_a_file_that_contradicts_its_manifest_is_shown_wherever_a_rebuild_is_compared(
    release: Release, client: Client
) -> None:
    Component.objects.filter(role=Role.KERNEL).update(sha256="7" * 64, sha384="8" * 96)
    statement = StoredStatement.objects.get()
    for address in (statement.get_absolute_url(), statement.rebuild.get_absolute_url()):
        text = client.get(address).content.decode()
        assert "contradicts the manifest" in text
        assert f"the published file is sha256:{'7' * 64}" in text
    for address in (f"rebuilds/{statement.rebuild_id}", f"statements/{statement.payload_sha256}"):
        rows = client.get(f"/api/v1/{address}").json()["comparisons"]
        assert {row["role"]: row["file"] for row in rows if row["file"]} == {"kernel": "sha256:" + "7" * 64}
