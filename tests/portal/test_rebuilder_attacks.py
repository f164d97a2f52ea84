"""Attacks on what rebuilders hand in: each is refused with its own error, and the verdict does not move."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from builds.domain.dsse import IN_TOTO_PAYLOAD, MAX_ENVELOPE_BYTES
from builds.domain.provenance import MAX_FILES
from builds.domain.requests import CLAIM_PAYLOAD
from builds.domain.roles import Role
from builds.models import Rebuild, RebuilderKey, Release
from builds.services.operators import revoke_key
from tests.support.attacks import (
    Change,
    Trace,
    envelope_with,
    hand_in,
    refusal,
    signature_of,
    signed,
    signed_by,
)
from tests.support.operators import new_signer, operator_named, result_of
from tests.support.statements import digest_hex, encoded

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    """A release that ada reproduced; one more operator would change its verdict."""
    release = make_release()
    make_release("v2.0.0")
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    operator_named("mallory")
    return release


def test_an_honest_statement_of_another_operator_moves_the_verdict_so_that_attacks_could(release: Release) -> None:
    before = Trace.of(release)
    answer = hand_in(signed(release, "mallory").as_bytes())
    assert answer.status_code == 201
    assert json.loads(answer.content)["notCounted"] == ""
    after = Trace.of(release)
    assert (before.reproduced, after.reproduced) == (1, 2)
    assert after.verdict != before.verdict
    assert after.rows["StoredStatement"] == before.rows["StoredStatement"] + 1
    assert after.rows["VerdictRecord"] == before.rows["VerdictRecord"] + 1


def test_an_honest_contradiction_moves_the_verdict_so_that_attacks_could(release: Release) -> None:
    before = Trace.of(release)
    assert hand_in(signed(release, "mallory", changed=(Role.INITRD,)).as_bytes()).status_code == 201
    after = Trace.of(release)
    assert (before.contradicting, after.contradicting) == (0, 1)
    assert Rebuild.objects.filter(state="queued").count() == 1


def unsigned(release: Release) -> bytes:
    return envelope_with(signed(release, "mallory"), signatures=[])


def empty_signature(release: Release) -> bytes:
    return envelope_with(signed(release, "mallory"), signatures=[{"sig": ""}])


def two_signatures(release: Release) -> bytes:
    envelope = signed(release, "mallory")
    other = operator_named("ada").sign(IN_TOTO_PAYLOAD, envelope.payload)
    return envelope_with(envelope, signatures=[signature_of(envelope), signature_of(other)])


def bare_statement(release: Release) -> bytes:
    return signed(release, "mallory").payload


def wrong_key(release: Release) -> bytes:
    named = signed(release, "mallory")
    return new_signer().sign(IN_TOTO_PAYLOAD, named.payload).as_bytes()


def key_of_nobody(release: Release) -> bytes:
    return signed_by(new_signer(), release).as_bytes()


def key_by_another_spelling(release: Release) -> bytes:
    """Of the last character's six bits four count, so that a careless reader knows one key by four names."""
    signer = operator_named("mallory")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    name = signer.public.name
    respelled = name[:-1] + alphabet[alphabet.index(name[-1]) + 1]
    return signer.sign(IN_TOTO_PAYLOAD, encoded(result_of(release, respelled))).as_bytes()


def signature_of_another_statement(release: Release) -> bytes:
    one, other = signed(release, "mallory"), signed(release, "mallory")
    return replace(one, signature=other.signature).as_bytes()


def payload_reserialised(release: Release) -> bytes:
    envelope = signed(release, "mallory")
    payload = json.dumps(json.loads(envelope.payload), indent=1, sort_keys=True).encode()
    return replace(envelope, payload=payload).as_bytes()


def one_digest_replaced(release: Release) -> bytes:
    envelope = signed(release, "mallory", changed=(Role.INITRD,))
    honest = json.loads(signed(release, "mallory").payload)["subject"]
    document = json.loads(envelope.payload)
    return replace(envelope, payload=json.dumps({**document, "subject": honest}).encode()).as_bytes()


def payload_type_changed(release: Release) -> bytes:
    return envelope_with(signed(release, "mallory"), payloadType="application/json")


def signed_as_a_request(release: Release) -> bytes:
    """What was signed as something else is called a statement afterwards."""
    payload = signed(release, "mallory").payload
    asked = operator_named("mallory").sign(CLAIM_PAYLOAD, payload)
    return envelope_with(asked, payloadType=IN_TOTO_PAYLOAD)


def no_json(release: Release) -> bytes:
    return b"\x00" * 100


def member_twice(release: Release) -> bytes:
    text = signed(release, "mallory").as_bytes()
    return text.replace(b'{"payload":', b'{"payload": "e30=", "payload":', 1)


@pytest.mark.parametrize(
    ("attack", "status", "code", "words"),
    [
        (unsigned, 400, "malformed-envelope", "exactly one signature"),
        (empty_signature, 400, "malformed-envelope", "nobody signed this"),
        (two_signatures, 400, "malformed-envelope", "exactly one signature"),
        (bare_statement, 400, "malformed-envelope", "payload, payloadType and signatures"),
        (wrong_key, 403, "signature-mismatch", "not by this key"),
        (key_of_nobody, 403, "unknown-key", "no key that is enrolled"),
        (key_by_another_spelling, 403, "unknown-key", "no key that is enrolled"),
        (signature_of_another_statement, 403, "signature-mismatch", "not by this key"),
        (payload_reserialised, 403, "signature-mismatch", "not by this key"),
        (one_digest_replaced, 403, "signature-mismatch", "not by this key"),
        (payload_type_changed, 400, "malformed-envelope", "no in-toto statement"),
        (signed_as_a_request, 403, "signature-mismatch", "not by this key"),
        (no_json, 400, "malformed-envelope", "not JSON"),
        (member_twice, 400, "malformed-envelope", "same member twice"),
    ],
)
def test_what_the_operator_did_not_sign_is_refused_and_leaves_no_trace(
    release: Release, attack: Callable[[Release], bytes], status: int, code: str, words: str
) -> None:
    data = attack(release)
    before = Trace.of(release)
    answered, named, what = refusal(hand_in(data))
    assert (answered, named) == (status, code)
    assert words in what
    assert Trace.of(release) == before


def put(path: str, value: object) -> Change:
    def change(target: Any) -> None:
        *way, last = path.split(".")
        for step in way:
            target = target[int(step) if step.isdigit() else step]
        target[last] = value

    return change


def subject_twice(document: dict[str, Any]) -> None:
    document["subject"][1] = document["subject"][0]


def component_left_out(document: dict[str, Any]) -> None:
    document["subject"] = [entry for entry in document["subject"] if entry["name"] != "initrd"]


def only_sha256(document: dict[str, Any]) -> None:
    del document["subject"][0]["digest"]["sha384"]


def sha512_beside(document: dict[str, Any]) -> None:
    document["subject"][0]["digest"]["sha512"] = "a" * 128


def right_length_wrong_algorithm(document: dict[str, Any]) -> None:
    """SHA3-256 and SHA3-384 are as long as what is asked for."""
    digest = document["subject"][0]["digest"]
    document["subject"][0]["digest"] = {"sha3_256": digest["sha256"], "sha3_384": digest["sha384"]}


def commit_everywhere(document: dict[str, Any]) -> None:
    definition = document["predicate"]["buildDefinition"]
    definition["externalParameters"]["source"]["commit"] = "b" * 40
    definition["resolvedDependencies"][0]["digest"]["gitCommit"] = "b" * 40


def file_twice(document: dict[str, Any]) -> None:
    entries = document["predicate"]["runDetails"]["byproducts"][2]["annotations"]["entries"]
    entries.append(entries[0])


def too_many_files(document: dict[str, Any]) -> None:
    entries = document["predicate"]["runDetails"]["byproducts"][2]["annotations"]["entries"]
    entry = {**entries[0], "origin": "", "sha256": "0" * 64, "path": "f"}
    entries.extend([entry] * MAX_FILES)


PARAMETERS = "predicate.buildDefinition.externalParameters"
METADATA = "predicate.runDetails.metadata"
MALFORMED = "malformed-rebuild-statement"


@pytest.mark.parametrize(
    ("change", "status", "code", "words"),
    [
        (put(f"{PARAMETERS}.tag", "v9.9.9"), 404, "unknown-release", "there is no release enclave v9.9.9 here"),
        (put(f"{PARAMETERS}.project", "other"), 404, "unknown-release", "there is no release other v1.0.0 here"),
        (commit_everywhere, 400, "other-commit", f"it is of commit {'b' * 40}"),
        (put(f"{PARAMETERS}.source.commit", "b" * 40), 400, MALFORMED, "source commit"),
        (put(f"{PARAMETERS}.sourceDateEpoch", 1), 400, "other-source-date-epoch", "was 1, the commit's is 1700000000"),
        (put(f"{PARAMETERS}.recipe.sha256", "1" * 64), 400, "other-recipe", f"by recipe sha256:{'1' * 64}, not sha256"),
        (component_left_out, 400, "other-components", "it is about disk, katana, kernel, ovmf; the recipe makes"),
        (subject_twice, 400, MALFORMED, "a subject twice"),
        (put("subject", []), 400, MALFORMED, "subject"),
        (only_sha256, 400, MALFORMED, "sha384"),
        (sha512_beside, 400, MALFORMED, "sha512"),
        (right_length_wrong_algorithm, 400, MALFORMED, "digest.sha256: Field required"),
        (put("subject.0.digest.sha256", digest_hex("a", 96)), 400, MALFORMED, "sha256"),
        (put("subject.0.digest.sha384", digest_hex("a")), 400, MALFORMED, "sha384"),
        (put("subject.0.digest.sha384", "A" * 96), 400, MALFORMED, "sha384"),
        (put("predicateType", "https://slsa.dev/verification_summary/v1"), 400, MALFORMED, "predicateType"),
        (put("predicate.buildDefinition.buildType", "https://tee-portal.org/rebuild/v2"), 400, MALFORMED, "buildType"),
        (put("outcome", "reproduced"), 400, MALFORMED, "outcome"),
        (put(f"{METADATA}.finishedOn", "2099-01-01T00:00:00Z"), 400, "finished-in-future", "ended at 2099-01-01"),
        (put(f"{METADATA}.startedOn", "2098-01-01T00:00:00Z"), 400, MALFORMED, "ended before it began"),
        (put(f"{METADATA}.startedOn", "0001-01-01T00:00:00+14:00"), 400, MALFORMED, "startedOn"),
        (put(f"{METADATA}.invocationId", "-" * 36), 400, MALFORMED, "invocationId"),
        (put(f"{METADATA}.invocationId", "0" * 36), 400, MALFORMED, "invocationId"),
        (file_twice, 400, MALFORMED, "a file is listed twice"),
        (too_many_files, 400, MALFORMED, "entries"),
    ],
)
def test_a_signed_statement_about_something_else_is_refused_and_leaves_no_trace(
    release: Release, change: Change, status: int, code: str, words: str
) -> None:
    data = signed(release, "mallory", change=change).as_bytes()
    before = Trace.of(release)
    answered, named, what = refusal(hand_in(data))
    assert (answered, named) == (status, code)
    assert words in what
    assert Trace.of(release) == before


def test_ten_megabytes_are_refused_without_being_read_whole(release: Release) -> None:
    before = Trace.of(release)
    answer = hand_in(b"{" + b" " * 10_000_000 + b"}")
    assert refusal(answer) == (413, "limit-exceeded", f"the request is larger than {MAX_ENVELOPE_BYTES} bytes")
    assert Trace.of(release) == before


def test_an_envelope_that_fits_around_a_statement_that_does_not_is_refused(release: Release) -> None:
    payload = signed(release, "mallory").payload[:-1] + b" " * 4_300_000 + b"}"
    data = operator_named("mallory").sign(IN_TOTO_PAYLOAD, payload).as_bytes()
    assert len(data) < MAX_ENVELOPE_BYTES
    before = Trace.of(release)
    answered, named, what = refusal(hand_in(data))
    assert (answered, named) == (400, MALFORMED)
    assert "larger than" in what
    assert Trace.of(release) == before


@dataclass(frozen=True)
class KeyTrouble:
    code: str
    words: str
    changed: dict[str, Any]


@pytest.mark.parametrize(
    "trouble",
    [
        KeyTrouble("key-expired", "the key may sign from", {"not_after": timedelta(hours=-1)}),
        KeyTrouble("key-expired", "the key may sign from", {"not_before": timedelta(hours=1)}),
        KeyTrouble("key-revoked", "lost (Ada)", {"revoked_at": timedelta(hours=-1), "revocation_reason": "lost (Ada)"}),
    ],
)
def test_a_key_that_is_expired_not_yet_valid_or_revoked_signs_nothing(release: Release, trouble: KeyTrouble) -> None:
    data = signed(release, "mallory").as_bytes()
    now = timezone.now()
    moved = {
        name: now + value if isinstance(value, timedelta) else value
        for name, value in {"not_before": timedelta(days=-1), **trouble.changed}.items()
    }
    RebuilderKey.objects.filter(rebuilder__operator__slug="mallory").update(**moved)
    before = Trace.of(release)
    answered, named, what = refusal(hand_in(data))
    assert (answered, named) == (403, trouble.code)
    assert trouble.words in what
    assert Trace.of(release) == before


def test_a_statement_that_was_kept_before_its_key_was_revoked_is_not_told_again_under_it(release: Release) -> None:
    data = signed(release, "mallory").as_bytes()
    hand_in(data)
    before = Trace.of(release)
    revoke_key(operator_named("mallory").public.fingerprint, reason="stolen", by="Ada")
    assert refusal(hand_in(data))[:2] == (403, "key-revoked")
    assert Trace.of(release).reproduced == before.reproduced == 2
