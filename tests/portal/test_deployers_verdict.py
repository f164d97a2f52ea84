"""What a deployer's script is told before it starts an enclave: allow only from evidence, and by whose word."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.local_sigstore import TrustDomain
from attestations.models import BundleRecord, ExpectedPublisher, VerdictRecord
from attestations.services.verdicts import record_verdict
from builds.domain.roles import Role
from builds.models import AcceptedOpaqueInput, Project, Rebuild, RebuilderKey, Release, StoredStatement
from tee_portal import kept_answers
from tests.portal.attested import WORKFLOW, attest_all
from tests.portal.conftest import ROOT_NAME
from tests.support.operators import MEASUREMENT

pytestmark = pytest.mark.django_db

BASE = "http://testserver"
MakeRelease = Callable[..., Release]
MakeRebuild = Callable[..., Rebuild]


@pytest.fixture
def allowed(
    publisher: ExpectedPublisher, make_release: MakeRelease, make_rebuild: MakeRebuild, domain: TrustDomain
) -> Release:
    release = make_release("v1/rc+1")
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    return release


def address(release: Release) -> str:
    return f"/api/v1/releases/{release.project.name}/{release.tag}/verdict"


def asked(release: Release, **query: Any) -> dict[str, Any]:
    answer = Client().get(address(release), query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = json.loads(answer.content)
    return found


def axis(answer: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [entry for entry in answer["axes"] if entry["condition"] == key]
    return dict(found)


def test_a_release_that_meets_every_condition_is_allowed_with_its_signed_summary(allowed: Release) -> None:
    record = record_verdict(allowed.pk) or VerdictRecord.objects.get(release=allowed, decision="allow")
    answer = asked(allowed)
    assert (answer["decision"], answer["unmet"], answer["derived"], answer["as_of"]) == ("allow", [], "now", None)
    signed = answer["signed"]
    assert datetime.fromisoformat(signed["at"]) == record.at
    assert signed["key"] == f"sha256:{record.key.fingerprint}"  # type: ignore[union-attr]
    served = Client().get(signed["envelope"].removeprefix(BASE))
    assert served.content == bytes(record.envelope or b"")
    assert Client().get(signed["public_key"].removeprefix(BASE)).status_code == 200


def test_every_axis_says_who_says_so_and_where_that_can_be_read(allowed: Release) -> None:
    answer = asked(allowed)
    assert len(answer["axes"]) == 6
    for entry in answer["axes"]:
        assert (entry["state"], bool(entry["reason"])) == ("met", True)
        assert entry["trust_anchor"]
        for link in entry["evidence"]:
            assert Client().get(link["address"].removeprefix(BASE)).status_code == 200, link
    keys = {row.rebuilder.operator.name: f"sha256:{row.fingerprint}" for row in RebuilderKey.objects.all()}
    operators = axis(answer, "reproduced-by-enough-operators")
    assert {entry["name"]: entry["key"] for entry in operators["trust_anchor"]} == keys
    statements = {link["digest"] for link in operators["evidence"] if link["kind"] == "statement"}
    assert statements == {str(statement) for statement in StoredStatement.objects.all()}
    (signer,) = axis(answer, "attested-by-expected-publisher")["trust_anchor"]
    assert (signer["kind"], signer["name"], signer["identity"]) == ("sigstore", ROOT_NAME, WORKFLOW.san)


def test_who_attested_the_same_bytes_for_something_else_is_no_anchor_of_what_is_allowed(
    allowed: Release, domain: TrustDomain
) -> None:
    before = axis(asked(allowed), "attested-by-expected-publisher")
    attest_all(allowed, domain, replace(WORKFLOW, repository="stranger/enclave"))
    assert BundleRecord.objects.count() > len(before["evidence"])
    assert axis(asked(allowed), "attested-by-expected-publisher") == before
    caller = asked(allowed, policy=f"identity:{replace(WORKFLOW, repository='stranger/enclave').san}")
    theirs = axis(caller, "attested-by-expected-publisher")
    assert {anchor["identity"] for anchor in theirs["trust_anchor"]} <= {
        replace(WORKFLOW, repository="stranger/enclave").san
    }


def test_what_denies_is_named_with_its_state_and_reason(make_release: MakeRelease) -> None:
    answer = asked(make_release())
    assert answer["decision"] == "deny"
    states = {entry["condition"]: entry["state"] for entry in answer["unmet"]}
    assert states["reproduced-by-enough-operators"] == "unknown"
    assert all(entry["reason"] for entry in answer["unmet"])
    assert answer["signed"] is None
    assert "No verdict" in answer["unsigned_reason"]


def test_a_summary_of_another_state_is_not_shown_as_todays(allowed: Release, make_rebuild: MakeRebuild) -> None:
    record_verdict(allowed.pk)
    Project.objects.update(needed_operators=3)
    answer = asked(allowed)
    assert (answer["decision"], answer["signed"]) == ("deny", None)
    assert "another state" in answer["unsigned_reason"]
    assert answer["policy"]["address"] is None


def test_the_policy_is_told_with_reasons_and_its_document_is_served(allowed: Release) -> None:
    AcceptedOpaqueInput.objects.create(project=allowed.project, sha256="f" * 64, reason="a known blob")
    record_verdict(allowed.pk)
    policy = asked(allowed)["policy"]
    assert (policy["source"], policy["needed_operators"]) == ("project", 2)
    (accepted,) = policy["accepted_opaque_inputs"]
    assert (accepted["digest"], accepted["reason"]) == (f"sha256:{'f' * 64}", "a known blob")
    assert accepted["accepted_at"] is not None
    assert policy["expected_publishers"][0]["workflow"] == ".github/workflows/release-tee.yml"
    document = Client().get(policy["address"].removeprefix(BASE)).json()
    assert document["neededOperators"] == 2


def test_new_evidence_is_seen_at_once_though_answers_are_kept(allowed: Release, make_rebuild: MakeRebuild) -> None:
    assert asked(allowed)["decision"] == "allow"
    make_rebuild(allowed, by="cedar", changed=(Role.INITRD,))
    assert asked(allowed)["decision"] == "deny"


def test_an_answer_costs_few_statements_and_a_kept_one_costs_one(allowed: Release) -> None:
    client = Client()
    with CaptureQueriesContext(connection) as first:
        body = client.get(address(allowed)).content
    with CaptureQueriesContext(connection) as again:
        assert client.get(address(allowed)).content == body
    assert len(first) <= 12
    assert len(again) == 1


def test_answers_under_policies_are_kept_too_and_each_apart(allowed: Release) -> None:
    answers = [{"policy": policy} for policy in ("k:2", "k:3", f"k:2,identity:{WORKFLOW.san}")]
    first = [asked(allowed, **query)["decision"] for query in answers]
    with CaptureQueriesContext(connection) as again:
        assert [asked(allowed, **query)["decision"] for query in answers] == first == ["allow", "deny", "allow"]
    assert len(again) == len(answers)


def test_an_answer_is_kept_for_one_host_only(allowed: Release, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "other.example"]
    asked(allowed)
    other = json.loads(Client().get(address(allowed), headers={"host": "other.example"}).content)
    assert other["release"].startswith("http://other.example/")


def test_an_answer_may_be_kept_for_seconds_and_is_304_while_it_is_the_same(allowed: Release) -> None:
    first = Client().get(address(allowed))
    assert first["Cache-Control"] == "public, max-age=5"
    again = Client().get(address(allowed), headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("query", [{}, {"at": "2026-01-01T00:00Z"}, {"policy": "k:1"}])
def test_an_unknown_release_is_denied_by_the_same_word(project: Project, query: dict[str, str]) -> None:
    answer = Client().get(f"/api/v1/releases/{project.name}/v9/verdict", query)
    assert answer.status_code == 404
    assert (answer.json()["decision"], answer.json()["code"]) == ("deny", "not-found")


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_slash_too_many_denies_as_an_unknown_release_does(allowed: Release, slashes: str) -> None:
    answer = Client().get(address(allowed) + slashes)
    assert answer.status_code == 404
    assert (answer.json()["decision"], answer.json()["code"]) == ("deny", "not-found")


@pytest.mark.parametrize(
    "query",
    [
        {"at": "yesterday"},
        {"at": "2026-01-01T00:00"},
        {"at": "1700000000"},
        {"at": "2999-01-01T00:00Z"},
        {"policy": ""},
        {"policy": "k:0"},
        {"policy": "k:1,colour:red"},
        {"policy": "k:1", "at": "2026-01-01T00:00Z"},
    ],
)
def test_a_question_that_cannot_be_read_is_refused_and_denies(allowed: Release, query: dict[str, str]) -> None:
    answer = Client().get(address(allowed), query)
    assert (answer.status_code, answer.json()["decision"]) == (422, "deny")


def test_a_moment_that_has_passed_is_answered_as_it_was_recorded(allowed: Release, make_rebuild: MakeRebuild) -> None:
    record_verdict(allowed.pk)
    record = VerdictRecord.objects.filter(release=allowed).latest("at", "pk")
    make_rebuild(allowed, by="cedar", changed=(Role.INITRD,))
    assert asked(allowed)["decision"] == "deny"
    kept_answers.forget()
    then = asked(allowed, at=record.at.isoformat())
    assert (then["decision"], then["derived"]) == ("allow", "recorded")
    assert datetime.fromisoformat(then["as_of"]) == record.at
    assert then["signed"]["digest"] == f"sha256:{record.payload_sha256}"
    assert then["policy"]["digest"] == f"sha256:{record.policy_sha256}"
    assert [entry["kind"] for entry in axis(then, "reproduced-by-enough-operators")["evidence"]] == ["statement"] * 2
    assert len(axis(then, "attested-by-expected-publisher")["evidence"]) == len(Role)
    (anchor,) = axis(then, "files-match-manifest")["trust_anchor"]
    assert anchor["key"] == f"sha256:{record.key.fingerprint}"  # type: ignore[union-attr]


def test_before_the_first_record_it_denies_and_before_the_import_nothing_is_known(make_release: MakeRelease) -> None:
    release = make_release()
    before = timezone.now()
    record_verdict(release.pk)
    answer = asked(release, at=before.isoformat())
    assert (answer["decision"], answer["signed"], answer["policy"]) == ("deny", None, None)
    (unmet,) = answer["unmet"]
    assert (unmet["condition"], unmet["state"]) == ("verdict-was-recorded", "unknown")
    earlier = Client().get(address(release), {"at": (release.imported_at - timedelta(seconds=1)).isoformat()})
    assert (earlier.status_code, earlier.json()["code"], earlier.json()["decision"]) == (404, "before-import", "deny")


@pytest.mark.parametrize("change", ["evidence", "policy", "nothing"])
def test_a_moment_after_the_last_judging_is_vouched_for_by_no_record(
    allowed: Release, make_rebuild: MakeRebuild, change: str
) -> None:
    record_verdict(allowed.pk)
    record = VerdictRecord.objects.filter(release=allowed).latest("at", "pk")
    if change == "evidence":
        make_rebuild(allowed, by="cedar", changed=(Role.INITRD,))
    elif change == "policy":
        Project.objects.update(needed_operators=9)
    after = timezone.now()
    then = asked(allowed, at=after.isoformat())
    assert (then["decision"], then["signed"], then["derived"]) == ("deny", None, "recorded")
    assert [(entry["condition"], entry["state"]) for entry in then["unmet"]] == [("verdict-was-recorded", "unknown")]
    assert datetime.fromisoformat(then["recorded_at"]) == record.at
    assert datetime.fromisoformat(then["judged_at"]) == Release.objects.get(pk=allowed.pk).judged_at
    history = f"/api/v1/verdicts/{allowed.project.name}/{allowed.tag}"
    assert Client().get(history, {"at": after.isoformat()}).json()["verdict"] is None
    assert Client().get(history).json()["verdict"]["decision"] == "allow"
    record_verdict(allowed.pk)
    later = asked(allowed, at=after.isoformat())
    assert later["decision"] == "allow", "the record before the change stands until that of the change"
    assert later["unmet"] == []


def test_conditions_have_one_shape_in_every_answer(make_release: MakeRelease) -> None:
    release = make_release()
    record_verdict(release.pk)
    path = f"{release.project.name}/{release.tag}"

    def got(where: str) -> Any:
        return Client().get(f"/api/v1/{where}").json()

    unmet = asked(release)["unmet"]
    states = [{"condition": entry["condition"], "state": entry["state"]} for entry in unmet]
    whole = got(f"releases/{path}")["verdict"]["conditions"]
    recorded = got(f"verdicts/{path}")["verdict"]["conditions"]
    assert [entry for entry in whole if entry["state"] != "met"] == unmet
    assert [entry for entry in recorded if entry["state"] != "met"] == unmet
    assert got("releases")["releases"][0]["verdict"]["unmet"] == states
    (giver,) = got(f"measurements/{MEASUREMENT}?project={release.project.name}")["given_by"]
    assert all(set(entry) == {"condition", "state", "reason"} for entry in giver["unmet"])


def test_every_digest_is_of_the_bytes_that_it_says(allowed: Release) -> None:
    """Of the manifest those at its address, of the signed summary those inside the envelope."""
    Release.objects.filter(pk=allowed.pk).update(manifest_sha256=hashlib.sha256(bytes(allowed.manifest)).hexdigest())
    record_verdict(allowed.pk)
    answer = asked(allowed)
    (manifest,) = axis(answer, "files-match-manifest")["evidence"]
    served = Client().get(urlsplit(manifest["address"]).path)
    assert manifest["kind"] == "manifest"
    assert manifest["digest"] == f"sha256:{hashlib.sha256(served.content).hexdigest()}"
    envelope = Client().get(urlsplit(answer["signed"]["envelope"]).path)
    payload = base64.b64decode(json.loads(envelope.content)["payload"])
    assert answer["signed"]["digest"] == f"sha256:{hashlib.sha256(payload).hexdigest()}"


def test_the_history_refuses_the_moments_that_the_verdict_refuses(make_release: MakeRelease) -> None:
    release, hour = make_release(), timedelta(hours=1)
    history = f"/api/v1/verdicts/{release.project.name}/{release.tag}"
    refusals = ((timezone.now() + hour, 422, "unusable-moment"), (release.imported_at - hour, 404, "before-import"))
    for moment, status, code in refusals:
        for path in (history, address(release)):
            answer = Client().get(path, {"at": moment.isoformat()})
            assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert Client().get(history, {"at": release.imported_at.isoformat()}).json()["verdict"] is None


def test_a_callers_policy_may_ask_for_more_and_for_less(allowed: Release, make_release: MakeRelease) -> None:
    stronger = asked(allowed, policy="k:3")
    assert (stronger["decision"], stronger["policy"]["needed_operators"]) == ("deny", 3)
    Project.objects.update(needed_operators=9)
    weaker = asked(allowed, policy="k:2")
    assert weaker["decision"] == "allow"
    assert weaker["sentence"].startswith("Under a caller's own policy")


def test_a_callers_answer_cannot_be_taken_for_the_projects(allowed: Release) -> None:
    record_verdict(allowed.pk)
    before = VerdictRecord.objects.count()
    answer = asked(allowed, policy="k:2")
    assert (answer["policy"]["source"], answer["signed"], answer["policy"]["digest"]) == ("caller", None, None)
    assert VerdictRecord.objects.count() == before
    assert asked(allowed)["policy"]["source"] == "project"


def test_a_callers_identity_stands_instead_of_the_projects(allowed: Release) -> None:
    own = asked(allowed, policy=f"identity:{WORKFLOW.san}")
    assert (own["decision"], own["policy"]["identity"]) == ("allow", WORKFLOW.san)
    other = asked(allowed, policy="identity:https://github.com/x/y/.github/workflows/z.yml@refs/tags/v1")
    assert [entry["condition"] for entry in other["unmet"]] == ["attested-by-expected-publisher"]
    assert axis(other, "attested-by-expected-publisher")["found"] == "wrong-identity"
    assert other["policy"]["expected_publishers"] == []
