"""Attacks on claims and signed requests: work is reserved by who signs, once, here and now."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.utils import timezone

from builds.domain.dsse import IN_TOTO_PAYLOAD, parse_envelope
from builds.domain.lifecycle import RunState
from builds.domain.requests import CLAIM_PAYLOAD
from builds.domain.roles import Role
from builds.models import Rebuild, Release, StoredStatement
from builds.services import queueing, submitting
from builds.services.operators import revoke_key
from builds.services.rebuilding import Claim, new_token, token_sha256
from tests.support.attacks import (
    Trace,
    claim_of,
    claim_request,
    envelope_with,
    hand_in,
    post,
    refusal,
    signed,
    signed_by,
)
from tests.support.operators import new_signer, operator_named

ONE_AT_A_TIME = pytest.mark.django_db
AT_ONCE = pytest.mark.django_db(transaction=True)
GONE = (410, "claim-gone")
PROGRESS = json.dumps({"log": [{"sequence": 1, "stagePosition": 0, "text": "a line\n"}]}).encode()
FAILURE = json.dumps({"code": "build-failed", "what": "it broke", "where": "stage", "todo": "look"}).encode()


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced; one more operator would change its verdict."""
    release = make_release()
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    return release


def run_of(held: Claim) -> Rebuild:
    return Rebuild.objects.get(pk=held.rebuild_id)


@ONE_AT_A_TIME
@pytest.mark.parametrize(
    ("action", "body"), [("progress", PROGRESS), ("progress", b"{}"), ("failure", FAILURE), ("give-back", b"")]
)
@pytest.mark.parametrize("whose", ["somebody else's", "a guess", "the token's hash", "none"])
def test_nobody_speaks_for_a_claim_whose_token_they_do_not_have(
    release: Release, action: str, body: bytes, whose: str
) -> None:
    held = claim_of(operator_named("ben"), release)
    own = claim_of(operator_named("mallory"), release)
    token = {"somebody else's": own.token, "a guess": new_token(), "the token's hash": held.sha256, "none": ""}[whose]
    before = Trace.of(release)
    answer = post(f"/api/v1/rebuilds/{held.rebuild_id}/{action}", body, Claim(held.rebuild_id, token))
    assert refusal(answer)[:2] == GONE
    assert Trace.of(release) == before
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/{action}", body, held).status_code in {200, 204}


@ONE_AT_A_TIME
def test_a_request_about_a_claim_without_any_token_is_refused(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    before = Trace.of(release)
    for action, body in (("progress", PROGRESS), ("failure", FAILURE), ("give-back", b"")):
        assert refusal(post(f"/api/v1/rebuilds/{held.rebuild_id}/{action}", body))[:2] == GONE
    assert Trace.of(release) == before


@ONE_AT_A_TIME
def test_a_statement_under_somebody_elses_claim_is_refused_even_with_its_token(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    data = signed(release, "mallory").as_bytes()
    before = Trace.of(release)
    for taken in (held, Claim(held.rebuild_id, new_token()), Claim(uuid.uuid4(), held.token)):
        assert refusal(hand_in(data, taken))[:2] == (403, "claim-of-another")
        assert Trace.of(release) == before
    own = signed(release, "ben").as_bytes()
    assert refusal(hand_in(own, Claim(held.rebuild_id, new_token())))[:2] == (403, "claim-of-another")
    assert Trace.of(release) == before
    assert hand_in(own, held).status_code == 201


@ONE_AT_A_TIME
def test_a_statement_about_another_release_than_the_claim_is_refused(
    release: Release, make_release: Callable[..., Release]
) -> None:
    held = claim_of(operator_named("ben"), make_release("v2.0.0"))
    data = signed(release, "ben").as_bytes()
    before = Trace.of(release)
    assert refusal(hand_in(data, held))[:2] == (403, "claim-of-another")
    assert Trace.of(release) == before
    assert run_of(held).run_state is RunState.RUNNING


@ONE_AT_A_TIME
def test_a_result_that_comes_after_its_lease_went_to_another_is_kept_once_and_takes_nothing_away(
    release: Release,
) -> None:
    place = queueing.open_place(release, queueing.Priority.NEW_RELEASE)
    late = claim_of(operator_named("ben"), release)
    assert late.rebuild_id == str(place.pk)
    (again,) = queueing.mark_lost(timezone.now() + timedelta(days=1))
    Rebuild.objects.filter(pk=again.pk).update(next_retry=timezone.now())
    other = claim_of(operator_named("cy"), release)
    assert other.rebuild_id == str(again.pk)
    data = signed(release, "ben").as_bytes()
    answer = hand_in(data, late)
    assert answer.status_code == 201
    told = json.loads(answer.content)
    assert told["notCounted"] == ""
    assert told["rebuild"] not in {late.rebuild_id, other.rebuild_id}
    assert (run_of(late).run_state, run_of(other).run_state) == (RunState.LOST, RunState.RUNNING)
    after = Trace.of(release)
    assert after.reproduced == 2
    assert hand_in(data, late).status_code == hand_in(data).status_code == 200
    assert Trace.of(release) == after
    assert hand_in(signed(release, "cy").as_bytes(), other).status_code == 201
    assert Trace.of(release).reproduced == 3


@ONE_AT_A_TIME
def test_a_result_under_a_cancelled_claim_is_kept_and_the_run_stays_cancelled(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/give-back", b"", held).status_code == 204
    assert hand_in(signed(release, "ben").as_bytes(), held).status_code == 201
    assert run_of(held).run_state is RunState.CANCELLED
    assert Trace.of(release).reproduced == 2


@ONE_AT_A_TIME
def test_a_claim_that_goes_while_its_result_is_checked_does_not_lose_the_result(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = claim_of(operator_named("ben"), release)
    looked = submitting._is_running

    def looked_too_early(*asked: Any) -> bool:
        running = looked(*asked)
        queueing.mark_lost(timezone.now() + timedelta(days=1))
        return running

    monkeypatch.setattr(submitting, "_is_running", looked_too_early)
    assert hand_in(signed(release, "ben").as_bytes(), held).status_code == 201
    assert run_of(held).run_state is RunState.LOST
    assert Trace.of(release).reproduced == 2


def at_once(*tasks: Callable[[], HttpResponse]) -> list[HttpResponse]:
    """Answers to requests that start together, each with a connection of its own."""
    ready, answers = threading.Barrier(len(tasks)), [HttpResponse(status=599)] * len(tasks)

    def ask(number: int) -> None:
        ready.wait()
        try:
            answers[number] = tasks[number]()
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@AT_ONCE
@pytest.mark.parametrize("claimed", [True, False])
def test_one_statement_handed_in_many_times_at_once_is_one_result(release: Release, claimed: bool) -> None:
    held = claim_of(operator_named("ben"), release) if claimed else None
    data = signed(release, "ben").as_bytes()
    answers = at_once(*[lambda: hand_in(data, held)] * 6)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({json.loads(answer.content)["rebuild"] for answer in answers}) == 1
    assert (StoredStatement.objects.count(), Rebuild.objects.count()) == (2, 2)
    assert Trace.of(release).reproduced == 2


@AT_ONCE
def test_two_results_under_one_claim_at_once_are_two_runs_and_one_voice(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    bodies = [signed(release, "ben").as_bytes() for _ in range(2)]
    answers = at_once(*[lambda body=body: hand_in(body, held) for body in bodies])  # type: ignore[misc]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({json.loads(answer.content)["rebuild"] for answer in answers}) == 2
    assert Trace.of(release).reproduced == 2


@AT_ONCE
def test_two_operators_that_sign_one_run_at_once_are_one_result_and_a_refusal(release: Release) -> None:
    run = str(uuid.uuid4())
    bodies = [signed(release, name, invocation=run).as_bytes() for name in ("ben", "mallory")]
    answers = at_once(*[lambda body=body: hand_in(body) for body in bodies])  # type: ignore[misc]
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert Trace.of(release).reproduced == 2


@AT_ONCE
def test_a_claim_request_sent_many_times_at_once_reserves_one_rebuild(release: Release) -> None:
    named = {"project": release.project.name, "tag": release.tag}
    body = claim_request(operator_named("ben"), new_token(), release=named)
    answers = at_once(*[lambda: post("/api/v1/claims", body)] * 6)
    given = {json.loads(answer.content)["rebuildId"] for answer in answers if answer.status_code == 200}
    assert {answer.status_code for answer in answers} <= {200, 204}
    assert len(given) == 1
    assert Rebuild.objects.filter(state__in=["queued", "running"]).count() == 1


@ONE_AT_A_TIME
def test_a_replayed_claim_gives_the_same_work_and_no_more(release: Release) -> None:
    body = claim_request(operator_named("ben"), new_token(), release={"project": "enclave", "tag": release.tag})
    first = post("/api/v1/claims", body)
    before = Trace.of(release)
    assert json.loads(post("/api/v1/claims", body).content) == json.loads(first.content)
    assert Trace.of(release) == before


@ONE_AT_A_TIME
def test_another_rebuilders_token_reserves_nothing_and_opens_no_place(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    before = Trace.of(release)
    named = {"project": "enclave", "tag": release.tag}
    body = claim_request(operator_named("mallory"), held.token, release=named)
    operator_named("mallory")
    assert post("/api/v1/claims", body).status_code == 204
    after = Trace.of(release)
    assert (after.runs, after.rows["RebuildEvent"]) == (before.runs, before.rows["RebuildEvent"])


def moved(**by: float) -> Callable[[], dict[str, Any]]:
    return lambda: {"issuedAt": timezone.now() + timedelta(**by)}


REQUEST = "malformed-request"


@ONE_AT_A_TIME
@pytest.mark.parametrize(
    ("changed", "status", "code", "words"),
    [
        (moved(seconds=-62), 400, "request-not-fresh", "seconds apart"),
        (moved(seconds=62), 400, "request-not-fresh", "seconds apart"),
        (lambda: {"portal": "other.example"}, 400, "request-not-for-this-portal", "for other.example, this is test"),
        (lambda: {"portal": "testserver:8000"}, 400, "request-not-for-this-portal", "for testserver:8000, this is"),
        (lambda: {"portal": "TESTSERVER"}, 400, REQUEST, "portal"),
        (lambda: {"issuedAt": "0001-01-01T00:00:00+14:00"}, 400, REQUEST, "issuedAt"),
        (lambda: {"tokenSha256": "0" * 63}, 400, REQUEST, "tokenSha256"),
        (lambda: {"agent": "a\x1b[2J"}, 400, REQUEST, "agent"),
        (lambda: {"priority": 0}, 400, REQUEST, "priority"),
        (lambda: {"release": {"project": "enclave", "tag": "v9"}}, 404, "unknown-release", "no release enclave v9"),
    ],
)
def test_a_signed_request_is_for_this_portal_this_minute_and_in_this_format(
    release: Release, changed: Callable[[], dict[str, Any]], status: int, code: str, words: str
) -> None:
    queueing.open_place(release, queueing.Priority.USER)
    body = claim_request(operator_named("ben"), new_token(), **changed())
    before = Trace.of(release)
    answered, named, what = refusal(post("/api/v1/claims", body))
    assert (answered, named) == (status, code)
    assert words in what
    assert Trace.of(release) == before
    assert post("/api/v1/claims", claim_request(operator_named("ben"), new_token())).status_code == 200


@ONE_AT_A_TIME
def test_the_public_address_decides_whom_a_request_is_for_whatever_the_host_header_says(
    release: Release, settings: Any
) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_url": "https://portal.example:8443/"})
    queueing.open_place(release, queueing.Priority.USER)
    signer = operator_named("ben")
    before = Trace.of(release)
    refused = refusal(post("/api/v1/claims", claim_request(signer, new_token())))
    assert refused == (400, "request-not-for-this-portal", "the request is for testserver, this is portal.example:8443")
    assert Trace.of(release) == before
    body = claim_request(signer, new_token(), portal="portal.example:8443")
    assert post("/api/v1/claims", body).status_code == 200


@ONE_AT_A_TIME
def test_a_claim_by_nobody_or_under_another_name_or_type_reserves_nothing(release: Release) -> None:
    queueing.open_place(release, queueing.Priority.USER)
    ben, stranger = operator_named("ben"), new_signer()
    good = claim_request(ben, new_token())
    payload = json.loads(good)["payload"]
    forged = stranger.sign(CLAIM_PAYLOAD, claim_payload(good))
    statement = signed_by(ben, release)
    before = Trace.of(release)
    for body, expected in (
        (claim_request(stranger, new_token()), (403, "unknown-key")),
        (forged.as_bytes(), (403, "signature-mismatch")),
        (json.dumps({**json.loads(good), "signatures": []}).encode(), (400, "malformed-envelope")),
        (envelope_with(statement, payload=payload, payloadType=CLAIM_PAYLOAD), (403, "signature-mismatch")),
        (statement.as_bytes(), (400, "malformed-request")),
        (ben.sign(CLAIM_PAYLOAD, statement.payload).as_bytes(), (400, "malformed-request")),
        (ben.sign(IN_TOTO_PAYLOAD, claim_payload(good)).as_bytes(), (400, "malformed-request")),
        (b"[" * 60_000, (422, "nested-too-deep")),
        (b" " * 70_000, (413, "limit-exceeded")),
    ):
        assert refusal(post("/api/v1/claims", body))[:2] == expected
        assert Trace.of(release) == before
    assert post("/api/v1/claims", good).status_code == 200


def claim_payload(envelope: bytes) -> bytes:
    return parse_envelope(envelope).payload


@ONE_AT_A_TIME
def test_pending_and_revoked_keys_reserve_nothing(release: Release) -> None:
    queueing.open_place(release, queueing.Priority.USER)
    pending, stolen = operator_named("newcomer", accepted=False), operator_named("mallory")
    revoke_key(stolen.public.fingerprint, reason="stolen", by="Ada")
    before = Trace.of(release)
    for signer, code in ((pending, "key-pending"), (stolen, "key-revoked")):
        assert refusal(post("/api/v1/claims", claim_request(signer, new_token())))[:2] == (403, code)
    assert Trace.of(release) == before


@ONE_AT_A_TIME
def test_one_rebuilder_holds_one_rebuild_of_a_release_however_often_it_asks(release: Release) -> None:
    for _ in range(3):
        queueing.open_place(release, queueing.Priority.USER)
    signer = operator_named("ben")
    answers = [post("/api/v1/claims", claim_request(signer, new_token())).status_code for _ in range(3)]
    assert answers == [200, 204, 204]
    assert Rebuild.objects.filter(state=RunState.RUNNING).count() == 1


@ONE_AT_A_TIME
def test_a_failure_that_is_reported_is_no_evidence_either_way(release: Release) -> None:
    before = Trace.of(release)
    held = claim_of(operator_named("mallory"), release)
    assert post(f"/api/v1/rebuilds/{held.rebuild_id}/failure", FAILURE, held).status_code == 204
    after = Trace.of(release)
    assert (after.reproduced, after.contradicting) == (before.reproduced, before.contradicting) == (1, 0)
    assert refusal(post(f"/api/v1/rebuilds/{held.rebuild_id}/failure", FAILURE, held))[:2] == GONE
    assert hand_in(signed(release, "mallory", changed=(Role.INITRD,)).as_bytes(), held).status_code == 201
    assert run_of(held).run_state is RunState.FAILED


@ONE_AT_A_TIME
@pytest.mark.parametrize("part", ["what", "where", "todo"])
@pytest.mark.parametrize("hostile", ["a\x00b", "\x1b[2J", "a\u202eb", "\x9b2J"])
def test_words_of_a_failure_that_would_drive_a_terminal_or_break_the_database_are_refused(
    release: Release, part: str, hostile: str
) -> None:
    held = claim_of(operator_named("mallory"), release)
    body = json.dumps({**json.loads(FAILURE), part: hostile}).encode()
    before = Trace.of(release)
    answered, code, what = refusal(post(f"/api/v1/rebuilds/{held.rebuild_id}/failure", body, held))
    assert (answered, code) == (400, "malformed-job")
    assert part in what
    assert Trace.of(release) == before


@ONE_AT_A_TIME
def test_a_token_is_known_here_by_its_hash_alone(release: Release) -> None:
    held = claim_of(operator_named("ben"), release)
    assert run_of(held).claim_sha256 == token_sha256(held.token)
    assert held.token not in str(list(Rebuild.objects.values()))
