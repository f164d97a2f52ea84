"""Decisions about operators stay as they were made; no name is another's, and nobody waits for good."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone

from builds.models import Operator, OperatorDecision, RebuilderKey, Release
from builds.services import enrolling, running
from builds.services.operators import accept_operator, reject_operator, revoke_key
from tests.portal.test_enrolment import Application, endorsed, enrol, known
from tests.support.attacks import Trace, claim_request, hand_in, post, refusal, signed_by
from tests.support.operators import new_signer, operator_named

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def named(slug: str) -> Operator:
    return Operator.objects.get(slug=slug)


def decisions(slug: str) -> list[tuple[str, str, str]]:
    return list(OperatorDecision.objects.filter(operator__slug=slug).values_list("what", "by", "reason"))


def test_a_rejected_operator_stays_listed_and_its_keys_sign_nothing_more(make_release: Callable[..., Release]) -> None:
    release, signer = make_release(), operator_named("mallory", accepted=False)
    assert hand_in(signed_by(signer, release).as_bytes()).status_code == 201
    told = run("operators", "reject", "mallory", "--by", "Cy", "--reason", "nobody by that name")
    assert told == "mallory rejected: nobody by that name\n"
    before = Trace.of(release)
    for answer in (
        hand_in(signed_by(signer, release).as_bytes()),
        post("/api/v1/claims", claim_request(signer, "t" * 43)),
    ):
        assert refusal(answer)[:2] == (403, "key-revoked")
        assert refusal(answer)[2].endswith("its operator was rejected: nobody by that name (Cy)")
    assert Trace.of(release) == before
    assert Trace.of(release).reproduced == 0
    assert "mallory: Mallory, rejected, " in run("operators", "list")
    page, api = Client().get("/rebuilders/mallory/"), Client().get("/api/v1/rebuilders/mallory")
    assert "rejected by Cy: nobody by that name" in re.sub(r"</?bdi[^>]*>", "", page.text)
    assert b"An administrator rejected the operator" in Client().get("/rebuilders/").content
    told_by_api = json.loads(api.content)
    assert (told_by_api["state"], told_by_api["counts"]) == ("rejected", False)
    assert [row["reason"] for row in told_by_api["decisions"]] == ["nobody by that name"]


def test_a_rejected_operator_cannot_come_back_by_itself() -> None:
    application = Application()
    enrol(application.signed())
    reject_operator(named("newcomer"), by="Cy", reason="made up")
    before = known()
    assert refusal(enrol(application.signed()))[:2] == (403, "operator-rejected")
    assert refusal(enrol(Application().signed()))[:2] == (409, "operator-taken")
    assert refusal(endorsed(Application().signed(), application.signer))[:2] == (403, "key-pending")
    with pytest.raises(CommandError, match="operator-rejected: New Comer was rejected"):
        run("operators", "accept", "newcomer", "--by", "Cy", "--identified-by", "met in person")
    assert known() == before


@pytest.mark.parametrize(("slug", "code"), [("ada", "nothing-to-reject"), ("gone", "operator-rejected")])
def test_only_an_operator_that_waits_is_rejected(slug: str, code: str) -> None:
    operator_named("ada")
    operator_named("gone", accepted=False)
    reject_operator(named("gone"), by="Cy", reason="made up")
    with pytest.raises(CommandError, match=code):
        run("operators", "reject", slug, "--by", "Dan", "--reason", "too")
    assert [row[1] for row in decisions("gone")] == ["Cy"]
    with pytest.raises(IntegrityError, match="operator_one_answer"):
        Operator.objects.filter(slug="ada").update(rejected_at=timezone.now())


def test_who_was_rejected_or_waits_for_longer_than_a_month_keeps_nobody_from_enrolling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enrolling, "MAX_PENDING_OPERATORS", 2)
    for name in ("one", "two"):
        operator_named(name, accepted=False)
    assert refusal(enrol(Application().signed()))[:2] == (403, "enrolments-full")
    reject_operator(named("one"), by="Cy", reason="made up")
    assert enrol(Application().signed()).status_code == 201
    other = Application(changed={"operator": "other", "operatorName": "Other"})
    assert refusal(enrol(other.signed()))[:2] == (403, "enrolments-full")
    Operator.objects.filter(slug="two").update(created_at=timezone.now() - timedelta(days=31))
    assert enrol(other.signed()).status_code == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"operator": "this-portal", "operatorName": "Evil"},
        {"operator": "evil", "operatorName": "this portal"},
        {"operator": "evil", "operatorName": "This\u00a0 PORTAL"},
        {"operator": "evil", "operatorName": "\uff54his portal"},
    ],
)
def test_nobody_enrols_as_the_portals_own_operator_though_it_is_not_there_yet(changed: dict[str, str]) -> None:
    assert refusal(enrol(Application(changed=changed).signed()))[:2] == (409, "operator-taken")
    assert running.local_rebuilder().operator.accepted_at is not None


@pytest.mark.parametrize("name", ["NEW  COMER", "\uff2e\uff45\uff57 Comer", "new\u2003comer", "New Comer\u2063"])
def test_a_name_that_people_would_read_as_anothers_is_taken(name: str) -> None:
    enrol(Application().signed())
    before = known()
    answer = enrol(Application(changed={"operator": "other", "operatorName": name}).signed())
    assert answer.status_code in {400, 409}
    assert known() == before


@pytest.mark.parametrize(
    "unseen",
    ["\u200b", "\u2060", "\u00ad", "\u061c", "\u3164", "\u200d", "\u115f", "\u1160", "\u034f", "\ufe0f", "\U000e0041"],
)
def test_a_name_with_a_character_that_cannot_be_seen_is_refused(unseen: str) -> None:
    application = Application(changed={"operatorName": f"Ada{unseen}"})
    assert refusal(enrol(application.signed())) == (
        400,
        "malformed-request",
        "operatorName: Value error, a character of it cannot be seen",
    )
    assert known() == (0, 0, 0)


@pytest.mark.parametrize(
    "name", ["Ada", "\u65e5\u672c", "J\u00fcrgen & S\u00f8nner", "e\u0301cole", "\u0928\u092e\u0938\u094d\u0924\u0947"]
)
def test_names_as_people_write_them_are_taken(name: str) -> None:
    assert enrol(Application(changed={"operatorName": name}).signed()).status_code == 201


def test_a_second_acceptance_is_refused_and_the_first_stands() -> None:
    operator_named("newcomer", accepted=False)
    accept_operator(named("newcomer"), by="Cy", identified_by="met in person")
    with pytest.raises(CommandError, match="already-accepted: Newcomer was accepted by Cy"):
        run("operators", "accept", "newcomer", "--by", "Dan", "--identified-by", "a friend")
    operator = named("newcomer")
    assert (operator.accepted_by, operator.identified_by) == ("Cy", "met in person")
    assert decisions("newcomer") == [("accepted", "Cy", "met in person")]


def test_keys_that_wait_are_accepted_beside_the_first_acceptance() -> None:
    operator_named("ada")
    signer = operator_named("ada", rebuilder="ada-2")
    waiting = RebuilderKey.objects.filter(fingerprint=signer.public.fingerprint)
    waiting.update(accepted_at=None)
    first = named("ada").accepted_at
    accept_operator(named("ada"), by="Dan", identified_by="she called")
    assert (named("ada").accepted_at, named("ada").accepted_by) == (first, "Ada")
    assert waiting.get().accepted_at is not None
    assert decisions("ada") == [("keys accepted", "Dan", "she called")]


def test_the_first_reason_of_a_revocation_stands_and_later_ones_are_listed_beside_it() -> None:
    fingerprint = operator_named("ada").public.fingerprint
    revoke_key(fingerprint, reason="stolen laptop", by="Cy")
    revoke_key(fingerprint, reason="oops", by="Dan", since=timezone.now() - timedelta(days=1))
    key = RebuilderKey.objects.get(fingerprint=fingerprint)
    assert key.revocation_reason == "stolen laptop (Cy)"
    assert [(by, reason) for _, by, reason in decisions("ada")] == [("Cy", "stolen laptop"), ("Dan", "oops")]
    assert b"oops" in Client().get("/rebuilders/ada/").content


def test_ties_are_decisions_too_and_no_decision_can_be_edited(make_release: Callable[..., Release]) -> None:
    make_release()
    operator_named("ada")
    run("operators", "tie", "ada", "--project", "enclave", "--by", "Cy", "--what", "employed there")
    run("operators", "tie", "ada", "--project", "enclave", "--by", "Dan")
    assert decisions("ada") == [
        ("tied to enclave", "Cy", "employed there"),
        ("not tied to enclave", "Dan", "the tie is ended"),
    ]
    assert "not tied to enclave by Dan: the tie is ended" in run("operators", "list")
    decision = OperatorDecision.objects.first()
    assert decision is not None
    decision.reason = "nothing"
    with pytest.raises(TypeError, match="append-only"):
        decision.save()


def test_a_stranger_vouches_for_nobody_under_a_name_of_the_portal() -> None:
    signer = new_signer()
    application = Application(signer, {"operator": "this-portal", "operatorName": "this portal"})
    assert refusal(endorsed(application.signed(), signer))[:2] == (403, "unknown-key")
