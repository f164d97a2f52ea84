"""What administrators decide about operators and results, with a name and a reason, on the command line."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from attestations.models import ExpectedPublisher
from attestations.tasks import record_verdicts
from builds.models import Affiliation, Operator, Project, Rebuild, RebuilderKey, Release, ResultSetAside
from builds.pipeline.proof import ProofNotShown
from builds.services.operators import tie_publishers
from builds.tasks import sweep
from tests.portal.disputed import disputed
from tests.support.attacks import Trace, hand_in, signed
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

CHECK = "builds.management.commands.operators.check_proof"


def run(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def release(make_release: Callable[..., Release]) -> Release:
    return disputed(make_release)


def due(release: Release) -> bool:
    """Whether the record of its verdict must be made anew."""
    release.refresh_from_db()
    return release.judged_at is None or release.evidence_changed_at >= release.judged_at


def pending() -> Operator:
    operator_named("newcomer", accepted=False)
    Operator.objects.filter(slug="newcomer").update(proof_kind="domain", proof_location="example.invalid")
    return Operator.objects.get(slug="newcomer")


def test_the_list_names_every_operator_its_keys_and_how_they_stand(release: Release) -> None:
    pending()
    run("operators", "tie", "ada", "--project", "enclave", "--by", "Cy", "--what", "employed there")
    fingerprint = operator_named("ben").public.fingerprint
    run("operators", "revoke", fingerprint, "--by", "Cy", "--reason", "lost")
    lines = run("operators", "list").splitlines()
    assert "ada: Ada, accepted by Ada, " in lines
    assert "  tied to the publisher of enclave: employed there" in lines
    assert f"  ada-1 sha256:{operator_named('ada').public.fingerprint} ecdsa-p256 accepted" in lines
    (revoked,) = [line for line in lines if line.startswith(f"  ben-1 sha256:{fingerprint} ecdsa-p256 revoked")]
    assert revoked.endswith(": lost (Cy)")
    assert "newcomer: Newcomer, pending, " in lines


def test_accepting_says_who_did_it_and_how_it_is_known(release: Release) -> None:
    operator = pending()
    told = run("operators", "accept", "newcomer", "--by", "Cy", "--identified-by", "met in person")
    assert told == "newcomer accepted: met in person\n"
    operator.refresh_from_db()
    assert (operator.accepted_by, operator.identified_by) == ("Cy", "met in person")
    assert RebuilderKey.objects.get(rebuilder__operator=operator).accepted_at == operator.accepted_at


def test_accepting_without_a_word_looks_at_what_the_operator_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = pending()
    seen: list[tuple[str, ...]] = []

    def shown(kind: str, location: str, name: str, fingerprint: str) -> str:
        seen.append((kind, location, name, fingerprint))
        return "its domain names its key"

    monkeypatch.setattr(CHECK, shown)
    told = run("operators", "accept", "newcomer", "--by", "Cy")
    public = operator_named("newcomer", accepted=False).public
    assert seen == [("domain", "example.invalid", public.name, public.fingerprint)]
    assert told.endswith("newcomer accepted: its domain names its key\n")
    operator.refresh_from_db()
    assert operator.identified_by == "its domain names its key"


def test_what_is_not_shown_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = pending()

    def absent(*_: object) -> str:
        raise ProofNotShown("the answer is 404", where="https://example.invalid")

    monkeypatch.setattr(CHECK, absent)
    for action in (("check", "newcomer"), ("accept", "newcomer", "--by", "Cy")):
        with pytest.raises(CommandError, match="proof-not-shown: the answer is 404"):
            run("operators", *action)
    Operator.objects.update(proof_kind="")
    with pytest.raises(CommandError, match="named no proof"):
        run("operators", "accept", "newcomer", "--by", "Cy")
    operator.refresh_from_db()
    assert operator.accepted_at is None


def test_only_the_keys_that_wait_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = pending()
    operator_named("newcomer", accepted=False, rebuilder="newcomer-2")
    old = RebuilderKey.objects.filter(rebuilder__name="newcomer-1")
    old.update(revoked_at=timezone.now(), revocation_reason="lost")
    looked: list[str] = []
    monkeypatch.setattr(CHECK, lambda _kind, _place, _name, fingerprint: looked.append(fingerprint) or "seen")
    run("operators", "accept", operator.slug, "--by", "Cy")
    assert looked == [RebuilderKey.objects.get(rebuilder__name="newcomer-2").fingerprint]


def test_a_tie_to_the_publisher_stops_counting_and_its_end_starts_it_again(release: Release) -> None:
    before = Trace.of(release)
    told = run("operators", "tie", "ben", "--project", "enclave", "--by", "Cy", "--what", "its own CI")
    assert told == "ben does not count for enclave: its own CI\n"
    tied = Trace.of(release)
    assert (tied.reproduced, tied.contradicting) == (1, 0)
    assert due(release)
    run("operators", "tie", "ben", "--project", "enclave", "--by", "Cy", "--what", "its own second CI")
    assert Affiliation.objects.get(ended_at=None).what == "its own second CI"
    run("operators", "tie", "ben", "--project", "enclave", "--by", "Dan")
    assert Trace.of(release).verdict == before.verdict
    said = [(tie.what, tie.stated_by, tie.ended_by) for tie in Affiliation.objects.all()]
    assert said == [("its own CI", "Cy", "Cy"), ("its own second CI", "Cy", "Dan")]
    assert f"its own second CI (ended {timezone.now():%Y-%m-%d} by Dan)" in run("operators", "list")


def shown_where_the_source_is(release: Release, operator: str) -> Operator:
    Project.objects.filter(pk=release.project_id).update(source_url="https://forge.example/acme/enclave")
    Operator.objects.filter(slug=operator).update(
        proof_kind="repository", proof_location="https://forge.example/acme/keys"
    )
    return Operator.objects.get(slug=operator)


def test_a_publisher_that_rebuilds_is_tied_without_anybody_saying_so(release: Release) -> None:
    shown_where_the_source_is(release, "ada")
    sweep()
    assert due(release)
    trace = Trace.of(release)
    assert (trace.reproduced, trace.contradicting) == (0, 1)
    tie = Affiliation.objects.get()
    assert (tie.stated_by, tie.operator.slug) == ("this portal", "ada")
    assert tie.what == "it shows its key in forge.example, where the project's source is published"
    sweep()
    assert Affiliation.objects.count() == 1


def test_a_publisher_does_not_count_before_anybody_wrote_its_tie_down(release: Release) -> None:
    shown_where_the_source_is(release, "ada")
    assert Trace.of(release).reproduced == 0
    assert not Affiliation.objects.exists()


def test_a_publisher_is_tied_before_it_is_accepted(release: Release) -> None:
    operator = pending()
    shown_where_the_source_is(release, operator.slug)
    run("operators", "accept", operator.slug, "--by", "Cy", "--identified-by", "its repository")
    assert Affiliation.objects.get().operator == operator
    before = Trace.of(release)
    hand_in(signed(release, operator.slug).as_bytes())
    assert Trace.of(release).verdict == before.verdict


def test_who_shows_its_key_where_the_expected_publisher_works_is_tied_too(release: Release) -> None:
    operator = pending()
    Operator.objects.filter(pk=operator.pk).update(
        proof_kind="repository", proof_location="https://github.com/acme/keys"
    )
    ExpectedPublisher.objects.create(project=release.project, repository="https://github.com/acme/enclave")
    run("operators", "accept", operator.slug, "--by", "Cy", "--identified-by", "its repository")
    tie = Affiliation.objects.get()
    assert (tie.operator, tie.what) == (
        operator,
        "it shows its key in github.com/acme, where the project's source is published",
    )
    before = Trace.of(release)
    hand_in(signed(release, operator.slug).as_bytes())
    assert Trace.of(release).verdict == before.verdict


def test_an_expected_publisher_that_comes_later_ties_who_is_accepted_already(release: Release) -> None:
    Operator.objects.filter(slug="ada").update(proof_kind="repository", proof_location="https://github.com/acme/keys")
    assert Trace.of(release).reproduced == 1
    ExpectedPublisher.objects.create(project=release.project, repository="https://github.com/acme/enclave")
    record_verdicts()
    assert Trace.of(release).reproduced == 0


def test_a_tie_that_the_portal_found_and_somebody_ended_is_not_found_again(release: Release) -> None:
    before = Trace.of(release)
    shown_where_the_source_is(release, "ada")
    tie_publishers()
    run("operators", "tie", "ada", "--project", "enclave", "--by", "Cy")
    tie_publishers()
    assert Trace.of(release).verdict == before.verdict
    assert [tie.ended_by for tie in Affiliation.objects.all()] == ["Cy"]


def test_revoking_from_a_date_marks_what_came_after_it_and_leaves_what_came_before(release: Release) -> None:
    fingerprint = operator_named("ada").public.fingerprint
    since = timezone.now() + timedelta(microseconds=1)
    run("operators", "revoke", f"sha256:{fingerprint}", "--by", "Cy", "--reason", "lost", "--since", since.isoformat())
    assert Trace.of(release).reproduced == 1
    earlier = timezone.now() - timedelta(days=1)
    run("operators", "revoke", fingerprint, "--by", "Cy", "--reason", "stolen", "--since", earlier.isoformat())
    assert Trace.of(release).reproduced == 0
    assert due(release)
    run("operators", "revoke", fingerprint, "--by", "Cy", "--reason", "again")
    assert RebuilderKey.objects.get(fingerprint=fingerprint).revoked_at == earlier


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("accept", "nobody", "--by", "Cy", "--identified-by", "x"), "no-such-operator"),
        (("accept", "ada", "--by", " ", "--identified-by", "x"), "reason-missing"),
        (("accept", "ada", "--by", "Cy", "--identified-by", " "), "reason-missing"),
        (("tie", "nobody", "--project", "enclave", "--by", "Cy", "--what", "x"), "no-such-operator"),
        (("tie", "ada", "--project", "none", "--by", "Cy", "--what", "x"), "project-not-named"),
        (("tie", "ada", "--project", "enclave", "--by", "", "--what", "x"), "reason-missing"),
        (("tie", "ada", "--project", "enclave", "--by", " "), "reason-missing"),
        (("tie", "ada", "--project", "enclave", "--by", "Cy"), "nothing-tied"),
        (("revoke", "ab" * 32, "--by", "Cy", "--reason", "x"), "no-such-operator"),
        (("revoke", "ADA", "--by", "Cy", "--reason", ""), "reason-missing"),
        (("revoke", "ADA", "--by", "Cy", "--reason", "x", "--since", "2026-01-01T00:00:00"), "needs a zone"),
        (("revoke", "ADA", "--by", "Cy", "--reason", "x" * 501), "words-too-long"),
    ],
)
def test_a_decision_about_nobody_or_without_reason_or_name_is_refused(
    release: Release, arguments: tuple[str, ...], words: str
) -> None:
    fingerprint = operator_named("ada").public.fingerprint
    before = Trace.of(release)
    with pytest.raises(CommandError, match=words):
        run("operators", *[fingerprint if part == "ADA" else part for part in arguments])
    assert Trace.of(release) == before


def test_a_result_is_set_aside_once_with_a_reason_that_stays_public(release: Release) -> None:
    against = Rebuild.objects.get(rebuilder__operator__slug="ben", statement__isnull=False)
    assert Trace.of(release).contradicting == 1
    told = run("set_aside", str(against.pk), "--reason", " its memory was bad ", "--by", " Cy ")
    assert told.endswith("does not count any more: its memory was bad\n")
    aside = ResultSetAside.objects.get()
    assert (aside.rebuild, aside.reason, aside.by) == (against, "its memory was bad", "Cy")
    assert Trace.of(release).contradicting == 0
    assert due(release)
    with pytest.raises(CommandError, match="already-set-aside"):
        run("set_aside", str(against.pk), "--reason", "again", "--by", "Cy")
    with pytest.raises(TypeError, match="append-only"):
        aside.delete()


@pytest.mark.parametrize(("reason", "by"), [("", "Cy"), ("bad", " ")])
def test_nothing_is_set_aside_without_a_reason_and_a_name(release: Release, reason: str, by: str) -> None:
    rebuild = Rebuild.objects.filter(statement__isnull=False).first()
    assert rebuild is not None
    with pytest.raises(CommandError, match="reason-missing"):
        run("set_aside", str(rebuild.pk), "--reason", reason, "--by", by)
    with pytest.raises(CommandError, match="no such rebuild"):
        run("set_aside", str(uuid.uuid4()), "--reason", "x", "--by", "Cy")
    assert not ResultSetAside.objects.exists()
