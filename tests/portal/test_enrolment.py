"""How keys come to be known: by themselves pending, by an older key at once, and never by taking another's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.http import HttpResponse
from django.utils import timezone

from builds.domain.dsse import Envelope
from builds.domain.requests import CLAIM_PAYLOAD, ENROLMENT_PAYLOAD
from builds.models import Operator, Rebuild, Rebuilder, RebuilderKey, Release
from builds.pipeline.signing import FileSigner, KeyAlgorithm
from builds.services import enrolling
from builds.services.operators import accept_operator, revoke_key, set_aside
from tests.support.attacks import AUDIENCE, Trace, hand_in, post, refusal, signed_by
from tests.support.operators import new_signer, operator_named

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Application:
    """A request to be enrolled as the agent makes it; ``changed`` replaces members by their JSON names."""

    signer: FileSigner = field(default_factory=new_signer)
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        document = {
            "portal": AUDIENCE,
            "key": self.signer.public.name,
            "issuedAt": timezone.now().isoformat(),
            "publicKey": self.signer.public.pem,
            "operator": "newcomer",
            "operatorName": "New Comer",
            "contact": "n@example.invalid",
            "affiliation": "",
            "proof": {"kind": "domain", "location": "example.invalid"},
            "rebuilder": "first",
            **self.changed,
        }
        return json.dumps(document).encode()

    def signed(self) -> Envelope:
        return self.signer.sign(ENROLMENT_PAYLOAD, self.payload)


def enrol(envelope: Envelope, **members: Any) -> HttpResponse:
    return post("/api/v1/enrolments", json.dumps({"enrolment": envelope.as_json(), **members}).encode())


def endorsed(envelope: Envelope, by: FileSigner, **members: Any) -> HttpResponse:
    """Enrol with the word of an older key over the same payload."""
    endorsement = by.sign(envelope.payload_type, envelope.payload).as_json()
    return enrol(envelope, **{"endorsement": endorsement, "endorsedBy": by.public.name, **members})


def known() -> tuple[int, int, int]:
    return Operator.objects.count(), Rebuilder.objects.count(), RebuilderKey.objects.count()


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_a_key_that_shows_itself_is_known_and_pending_with_the_request_it_came_by(algorithm: KeyAlgorithm) -> None:
    application = Application(new_signer(algorithm))
    answer = enrol(application.signed())
    assert answer.status_code == 201
    told = json.loads(answer.content)
    assert (told["operator"], told["state"], told["key"]) == ("newcomer", "pending", application.signer.public.name)
    key = RebuilderKey.objects.get()
    assert (key.accepted_at, key.endorsed_by, key.algorithm) == (None, None, algorithm.value)
    assert key.pem == application.signer.public.pem
    assert b"PRIVATE" not in bytes(key.enrolment or b"")
    operator = key.rebuilder.operator
    assert (operator.name, operator.proof_location, operator.accepted_at) == ("New Comer", "example.invalid", None)


def test_the_same_request_again_changes_nothing() -> None:
    envelope = Application().signed()
    first, before = enrol(envelope), known()
    assert json.loads(enrol(envelope).content) == json.loads(first.content)
    assert known() == before == (1, 1, 1)


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


REQUEST = "malformed-request"


@pytest.mark.parametrize(
    ("changed", "status", "code", "words"),
    [
        ({"portal": "other.example"}, 400, "request-not-for-this-portal", "the request is for other.example"),
        ({"issuedAt": "2020-01-01T00:00:00Z"}, 400, "request-not-fresh", "seconds apart"),
        ({"notAfter": "2020-01-01T00:00:00Z"}, 403, "key-expired", "would end at 2020-01-01 00:00 UTC"),
        ({"notAfter": "0001-01-01T00:00:00+14:00"}, 400, REQUEST, "notAfter"),
        ({"key": new_signer().public.name}, 400, "key-not-shown", "not the one that it names"),
        ({"publicKey": "-----BEGIN NOTHING-----\n"}, 400, "unusable-key", "no public key in PEM"),
        ({"publicKey": pem_of(rsa.generate_private_key(65537, 2048))}, 400, "unusable-key", "P-256 nor an Ed25519"),
        ({"publicKey": pem_of(ec.generate_private_key(ec.SECP384R1()))}, 400, "unusable-key", "P-256 nor an Ed25519"),
        ({"operator": "New Comer"}, 400, REQUEST, "operator"),
        ({"operator": "../admin"}, 400, REQUEST, "operator"),
        ({"operatorName": "a\u202egnp"}, 400, REQUEST, "operatorName"),
        ({"operatorName": "x" * 81}, 400, REQUEST, "operatorName"),
        ({"contact": "a\nb"}, 400, REQUEST, "contact"),
        ({"accepted": True}, 400, REQUEST, "accepted"),
        ({"proof": {"kind": "domain", "location": "good.example@evil.example"}}, 400, REQUEST, "no domain name"),
        ({"proof": {"kind": "domain", "location": "github.com/evil/r/raw/main/#"}}, 400, REQUEST, "no domain name"),
        ({"proof": {"kind": "domain", "location": "169.254.169.254"}}, 400, REQUEST, "no domain name"),
        ({"proof": {"kind": "domain", "location": "localhost"}}, 400, REQUEST, "no domain name"),
        ({"proof": {"kind": "repository", "location": "ext::sh"}}, 400, REQUEST, "no plain https address"),
        ({"proof": {"kind": "repository", "location": "file:///etc"}}, 400, REQUEST, "no plain https address"),
        ({"proof": {"kind": "repository", "location": "https://a@b.example/r"}}, 400, REQUEST, "no plain https"),
        ({"proof": {"kind": "word", "location": "example.invalid"}}, 400, REQUEST, "proof.kind"),
    ],
)
def test_an_application_that_is_not_what_it_must_be_is_refused_by_name_and_forgotten(
    changed: dict[str, Any], status: int, code: str, words: str
) -> None:
    answered, named, what = refusal(enrol(Application(changed=changed).signed()))
    assert (answered, named) == (status, code)
    assert words in what
    assert known() == (0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "location"),
    [
        ("domain", "example.org"),
        ("domain", "re-build.sub.example.org:8443"),
        ("domain", "xn--bcher-kva.example"),
        ("repository", "https://github.com/acme/katana-vm"),
        ("repository", "https://git.example.org:8443/a/b.git"),
    ],
)
def test_domains_and_repositories_as_people_have_them_are_taken(kind: str, location: str) -> None:
    assert enrol(Application(changed={"proof": {"kind": kind, "location": location}}).signed()).status_code == 201


def test_who_does_not_have_the_private_key_cannot_enrol_it() -> None:
    application, thief = Application(), new_signer()
    stolen = thief.sign(ENROLMENT_PAYLOAD, application.payload)
    assert refusal(enrol(stolen))[:2] == (403, "signature-mismatch")
    other_type = application.signer.sign(CLAIM_PAYLOAD, application.payload)
    assert refusal(enrol(other_type))[:2] == (400, REQUEST)
    assert refusal(enrol(application.signed(), extra=1))[:2] == (400, REQUEST)
    assert refusal(post("/api/v1/enrolments", b" " * 200_000))[:2] == (413, "limit-exceeded")
    assert known() == (0, 0, 0)


@pytest.mark.parametrize("changed", [{"operatorName": "Other"}, {"operator": "other", "operatorName": "nEW cOMER"}])
def test_a_known_operators_name_is_not_taken_by_another_key(changed: dict[str, Any]) -> None:
    enrol(Application().signed())
    before = known()
    assert refusal(enrol(Application(changed=changed).signed()))[:2] == (409, "operator-taken")
    assert known() == before


def test_who_takes_another_operators_name_is_told_that_it_is_the_name(older: FileSigner) -> None:
    answered, named, what = refusal(enrol(Application(changed={"operator": "other", "operatorName": "ADA"}).signed()))
    assert (answered, named) == (409, "operator-taken")
    assert what == "another operator is called ADA, or nearly so"


def test_a_key_belongs_to_one_operator() -> None:
    signer = new_signer()
    enrol(Application(signer).signed())
    before = known()
    other = Application(signer, {"operator": "other", "operatorName": "Other"})
    assert refusal(enrol(other.signed()))[:2] == (409, "key-taken")
    assert known() == before


def test_no_more_than_so_many_operators_wait_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolling, "MAX_PENDING_OPERATORS", 2)
    for number in range(3):
        changed = {"operator": f"op-{number}", "operatorName": f"Op {number}"}
        answer = enrol(Application(changed=changed).signed())
        if number < 2:
            assert answer.status_code == 201
    assert refusal(answer) == (403, "enrolments-full", "2 operators are pending already")
    assert known() == (2, 2, 2)
    accept_operator(Operator.objects.get(slug="op-0"), by="Ada", identified_by="met in person")
    assert enrol(Application().signed()).status_code == 201


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return make_release()


@pytest.fixture
def older(release: Release) -> FileSigner:
    """The key of an accepted operator that has reproduced the release."""
    signer = operator_named("ada")
    assert hand_in(signed_by(signer, release).as_bytes()).status_code == 201
    return signer


ADA = {"operator": "ada", "operatorName": "Ada"}


def test_an_older_key_vouches_for_a_newer_and_both_sign_until_the_older_is_revoked(
    release: Release, older: FileSigner
) -> None:
    newer = new_signer()
    answer = endorsed(Application(newer, ADA).signed(), older)
    assert (answer.status_code, json.loads(answer.content)["state"]) == (201, "accepted")
    row = RebuilderKey.objects.get(fingerprint=newer.public.fingerprint)
    assert row.endorsed_by is not None
    assert row.endorsed_by.fingerprint == older.public.fingerprint
    for signer in (older, newer):
        assert hand_in(signed_by(signer, release).as_bytes()).status_code == 201
    assert Trace.of(release).reproduced == 1
    revoke_key(older.public.fingerprint, reason="rotated", by="Ada")
    assert refusal(hand_in(signed_by(older, release).as_bytes()))[:2] == (403, "key-revoked")
    assert hand_in(signed_by(newer, release).as_bytes()).status_code == 201
    assert Trace.of(release).reproduced == 1


def test_a_newer_key_stands_when_the_one_that_vouched_for_it_ends_afterwards(
    release: Release, older: FileSigner
) -> None:
    newer = new_signer()
    endorsed(Application(newer, ADA).signed(), older)
    revoke_key(older.public.fingerprint, reason="rotated", by="Ada", since=timezone.now())
    assert hand_in(signed_by(newer, release).as_bytes()).status_code == 201
    assert Trace.of(release).reproduced == 1


def test_what_a_stolen_key_vouched_for_ends_with_it_and_so_does_what_that_vouched_for(
    release: Release, older: FileSigner
) -> None:
    stolen = timezone.now()
    first, second = new_signer(), new_signer()
    endorsed(Application(first, ADA).signed(), older)
    endorsed(Application(second, ADA).signed(), first)
    for signer in (first, second):
        assert hand_in(signed_by(signer, release).as_bytes()).status_code == 201
    assert Trace.of(release).reproduced == 1
    (before_the_theft,) = Rebuild.objects.filter(statement__key__fingerprint=older.public.fingerprint)
    set_aside(before_the_theft, reason="so that only the others are left", by="Cy")
    revoke_key(older.public.fingerprint, reason="stolen", by="Ada", since=stolen)
    assert Trace.of(release).reproduced == 0
    for signer in (first, second):
        assert refusal(hand_in(signed_by(signer, release).as_bytes()))[:2] == (403, "key-revoked")
    said = RebuilderKey.objects.get(fingerprint=second.public.fingerprint).revocation_reason
    assert said == f"vouched for by sha256:{first.public.fingerprint}, revoked before that"


def test_only_an_accepted_living_key_of_the_same_operator_vouches_over_the_same_words(
    release: Release, older: FileSigner
) -> None:
    stranger, pending, spent = new_signer(), operator_named("pending", accepted=False), operator_named("spent")
    ended = operator_named("ended")
    revoke_key(spent.public.fingerprint, reason="lost", by="Ada")
    hour = timedelta(hours=1)
    RebuilderKey.objects.filter(fingerprint=ended.public.fingerprint).update(
        not_before=timezone.now() - 2 * hour, not_after=timezone.now() - hour
    )
    before, rows = Trace.of(release), known()
    application = Application(changed=ADA).signed()
    as_spent, as_pending, as_ended = (
        Application(changed={"operator": name, "operatorName": name}).signed() for name in ("spent", "pending", "ended")
    )
    other_words = older.sign(ENROLMENT_PAYLOAD, Application(changed=ADA).payload).as_json()
    other_type = older.sign(CLAIM_PAYLOAD, application.payload).as_json()
    forged = stranger.sign(ENROLMENT_PAYLOAD, application.payload).as_json()
    for answer, expected in (
        (enrol(application), (409, "operator-taken")),
        (endorsed(application, stranger), (403, "unknown-key")),
        (endorsed(application, older, endorsement=forged), (403, "signature-mismatch")),
        (endorsed(application, older, endorsement=other_words), (400, "key-not-shown")),
        (endorsed(application, older, endorsement=other_type), (400, "key-not-shown")),
        (endorsed(application, older, endorsement={}), (400, "malformed-envelope")),
        (endorsed(application, older, endorsedBy=None), (403, "unknown-key")),
        (endorsed(Application().signed(), older), (400, "key-not-shown")),
        (endorsed(as_pending, pending), (403, "key-pending")),
        (endorsed(as_spent, spent), (403, "key-revoked")),
        (endorsed(as_ended, ended), (403, "key-expired")),
    ):
        assert refusal(answer)[:2] == expected
        assert known() == rows
    assert Trace.of(release) == before


def test_a_key_that_is_given_an_end_signs_until_then(release: Release, older: FileSigner) -> None:
    newer = new_signer()
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    assert endorsed(Application(newer, {**ADA, "notAfter": until}).signed(), older).status_code == 201
    assert hand_in(signed_by(newer, release).as_bytes()).status_code == 201
    RebuilderKey.objects.filter(fingerprint=newer.public.fingerprint).update(
        not_before=timezone.now() - timedelta(hours=2), not_after=timezone.now() - timedelta(seconds=1)
    )
    assert refusal(hand_in(signed_by(newer, release).as_bytes()))[:2] == (403, "key-expired")
    assert Trace.of(release).reproduced == 1


def test_what_a_pending_operator_showed_counts_once_it_is_accepted_and_not_before(release: Release) -> None:
    signer = new_signer()
    enrol(Application(signer).signed())
    hand_in(signed_by(signer, release).as_bytes())
    assert Trace.of(release).reproduced == 0
    accept_operator(Operator.objects.get(slug="newcomer"), by="Ada", identified_by="her domain")
    assert Trace.of(release).reproduced == 1
