"""Statements that hold to the format and yet do not count, or not twice: replayed, tied, from other inputs, old."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope
from builds.domain.roles import Role
from builds.models import Rebuild, RebuilderKey, Release, StoredStatement
from builds.services.operators import state_affiliation
from tests.support.attacks import Trace, hand_in, refusal, signed, signed_by
from tests.support.operators import operator_named, result_of
from tests.support.statements import digest_hex, encoded

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced; one more operator would change its verdict."""
    release = make_release()
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    operator_named("mallory")
    return release


def replays(release: Release) -> list[bytes]:
    """Another operator's statement: as it was, wrapped as a bundle, and spaced differently around the payload."""
    envelope = signed(release, "ada")
    hand_in(envelope.as_bytes())
    document = json.loads(envelope.as_bundle(operator_named("mallory").public.hint))
    return [envelope.as_bytes(), json.dumps(document).encode(), b" " + envelope.as_bytes() + b"\n"]


def test_a_statement_replayed_by_anybody_is_still_one_result_of_who_signed_it(release: Release) -> None:
    copies = replays(release)
    before = Trace.of(release)
    for copy in copies:
        answer = hand_in(copy)
        assert answer.status_code == 200
        told = json.loads(answer.content)
        assert Rebuild.objects.get(pk=told["rebuild"]).operator_name == "Ada"
        assert Trace.of(release) == before
    assert before.reproduced == 1


def test_another_operators_words_signed_anew_are_refused_as_that_operators_run(release: Release) -> None:
    invocation = StoredStatement.objects.get().invocation_id
    data = signed(release, "mallory", invocation=str(invocation)).as_bytes()
    before = Trace.of(release)
    said = f"invocation {invocation} is of another statement"
    assert refusal(hand_in(data)) == (409, "invocation-reused", said)
    assert Trace.of(release) == before


def test_a_statement_that_names_another_operator_as_its_builder_is_refused(release: Release) -> None:
    ada, mallory = operator_named("ada"), operator_named("mallory")
    data = mallory.sign(IN_TOTO_PAYLOAD, encoded(result_of(release, ada.public.name))).as_bytes()
    before = Trace.of(release)
    assert refusal(hand_in(data))[:2] == (403, "signature-mismatch")
    assert Trace.of(release) == before


def kept_but_marked(release: Release, answer: HttpResponse, words: str) -> None:
    assert answer.status_code == 201
    told = json.loads(answer.content)
    assert words in told["notCounted"]
    row = Release.objects.with_evidence().get(pk=release.pk)
    shown = {str(result.pk): result for result in row.results}  # type: ignore[attr-defined]
    assert told["rebuild"] in shown


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"materials": []}, "other materials than the release's lock"),
        ({"materials": [{"name": "x", "digest": {"sha256": "0" * 64}}]}, "other materials than the release's lock"),
        ({"network": True}, "asks for the network"),
    ],
)
@pytest.mark.parametrize("changed", [(), (Role.INITRD,)])
def test_what_was_built_from_other_things_is_kept_marked_and_never_counted(
    release: Release, parts: dict[str, Any], words: str, changed: tuple[Role, ...]
) -> None:
    before = Trace.of(release)
    answer = hand_in(signed(release, "mallory", changed=changed, **parts).as_bytes())
    kept_but_marked(release, answer, words)
    after = Trace.of(release)
    assert after.verdict == before.verdict
    assert after.rows["VerdictRecord"] == before.rows["VerdictRecord"]
    assert not Rebuild.objects.filter(state="queued").exists()


@pytest.mark.parametrize("changed", [(), (Role.INITRD,)])
def test_a_recipe_that_asks_for_the_network_counts_for_nobody_whatever_a_signer_says_of_it(
    release: Release, changed: tuple[Role, ...]
) -> None:
    Release.objects.filter(pk=release.pk).update(needs_network=True)
    before = Trace.of(release)
    answer = hand_in(signed(release, "mallory", network=False, changed=changed).as_bytes())
    kept_but_marked(release, answer, "asks for the network")
    assert Trace.of(release).verdict == before.verdict


def test_a_material_named_twice_or_beside_the_lock_is_another_set_of_materials(release: Release) -> None:
    lock = {"name": "dash 0.5 (amd64)", "digest": {"sha256": digest_hex("e")}}
    extra = {"name": "extra", "digest": {"sha256": "1" * 64}}
    answer = hand_in(signed(release, "mallory", materials=[lock, extra]).as_bytes())
    kept_but_marked(release, answer, "other materials than the release's lock")
    assert Trace.of(release).reproduced == 1


def test_one_operator_with_five_rebuilders_counts_once(release: Release) -> None:
    for number in range(5):
        signer = operator_named("mallory", rebuilder=f"mallory-{number}")
        assert hand_in(signed_by(signer, release).as_bytes()).status_code == 201
    after = Trace.of(release)
    assert (after.rows["StoredStatement"], after.reproduced, after.contradicting) == (6, 2, 0)


def test_an_operator_tied_to_the_publisher_is_kept_marked_and_never_counted(release: Release) -> None:
    operator = RebuilderKey.objects.get(rebuilder__operator__slug="mallory").rebuilder.operator
    state_affiliation(operator, release.project, what="employs the publisher", by="Ada")
    before = Trace.of(release)
    answer = hand_in(signed(release, "mallory").as_bytes())
    kept_but_marked(release, answer, "tied to the publisher: employs the publisher")
    assert Trace.of(release).verdict == before.verdict


def test_an_older_rebuild_handed_in_late_does_not_replace_a_newer_contradiction(release: Release) -> None:
    hand_in(signed(release, "mallory", changed=(Role.INITRD,)).as_bytes())
    before = Trace.of(release)
    old = signed(release, "mallory", finished=timezone.now() - timedelta(days=1))
    assert hand_in(old.as_bytes()).status_code == 201
    after = Trace.of(release)
    assert (after.reproduced, after.contradicting) == (before.reproduced, before.contradicting) == (1, 1)


def test_the_bytes_are_kept_as_they_came(release: Release) -> None:
    envelope: Envelope = signed(release, "mallory")
    data = b"  " + envelope.as_bundle(base64.b64encode(uuid.uuid4().bytes).decode()) + b"\n\n"
    told = json.loads(hand_in(data).content)
    assert bytes(StoredStatement.objects.get(rebuild=told["rebuild"]).content) == data


def test_no_page_shows_a_result_that_does_not_count_in_the_colour_of_one_that_does(
    release: Release, client: Client
) -> None:
    operator_named("pending", accepted=False)
    hand_in(signed(release, "pending").as_bytes())
    stored = StoredStatement.objects.get(key__rebuilder__operator__slug="pending")
    pages = (stored.rebuild.get_absolute_url(), stored.get_absolute_url(), "/rebuilders/pending/")
    for address in pages:
        shown = client.get(address).text
        assert '<span class="state plain">reproduced</span>' in shown, address
        assert '<span class="state good">reproduced</span>' not in shown, address
    of_ada = StoredStatement.objects.get(key__rebuilder__operator__slug="ada").rebuild
    assert '<span class="state good">reproduced</span>' in client.get(of_ada.get_absolute_url()).text
