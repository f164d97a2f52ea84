"""Lists keep verdicts for some seconds: never past new evidence, and never longer than they say."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.core.cache.backends import locmem
from django.db import connection
from django.test.utils import CaptureQueriesContext

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher
from attestations.services import kept_verdicts, trust_roots
from attestations.services.kept_verdicts import KEPT_SECONDS, KeptVerdict, verdicts_of
from builds.domain.comparison import RebuildOutcome
from builds.domain.roles import Role
from builds.domain.verdict import Decision
from builds.models import Rebuild, RebuilderKey, Release
from builds.services import operators
from tests.portal.attested import attest_all
from tests.portal.conftest import ROOT_NAME

pytestmark = pytest.mark.django_db


def kept(release: Release) -> KeptVerdict:
    """As a list reads it: from the row as it is now."""
    return verdicts_of([Release.objects.select_related("project").get(pk=release.pk)])[release.pk]


def one_result(release: Release) -> Rebuild:
    return release.rebuilds.select_related("rebuilder__operator").earliest("queued_at")


@pytest.fixture
def allowed(
    publisher: ExpectedPublisher,
    make_release: Callable[..., Release],
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
) -> Release:
    release = make_release("v1")
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    assert kept(release).standing.decision == "allow"
    return release


def test_a_kept_verdict_costs_one_statement_for_the_row(allowed: Release) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert kept(allowed).verdict.decision is Decision.ALLOW
    assert len(captured) == 1


def test_a_result_that_contradicts_is_seen_at_once(allowed: Release, make_rebuild: Callable[..., Rebuild]) -> None:
    make_rebuild(allowed, by="cedar", changed=(Role.INITRD,))
    assert kept(allowed).verdict.decision is Decision.DENY
    assert kept(allowed).verdict.outcome is RebuildOutcome.MISMATCHED


def test_a_revoked_key_is_seen_at_once(allowed: Release) -> None:
    key = RebuilderKey.objects.get(rebuilder=one_result(allowed).rebuilder)
    operators.revoke_key(key.fingerprint, reason="lost", by="Ada", since=allowed.imported_at)
    assert kept(allowed).verdict.decision is Decision.DENY


def test_an_operator_that_turns_out_to_be_the_publisher_is_seen_at_once(allowed: Release) -> None:
    operator = one_result(allowed).rebuilder.operator
    operators.state_affiliation(operator, allowed.project, what="the publisher's own", by="Ada")
    assert kept(allowed).verdict.decision is Decision.DENY


def test_a_result_that_is_set_aside_is_seen_at_once(allowed: Release) -> None:
    operators.set_aside(one_result(allowed), reason="a broken machine", by="Ada")
    assert kept(allowed).verdict.decision is Decision.DENY


def test_what_nobody_tells_of_is_seen_when_the_seconds_are_over(
    allowed: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_roots.remove(ROOT_NAME)
    later = time.time() + KEPT_SECONDS
    monkeypatch.setattr(locmem.time, "time", lambda: later)
    assert kept(allowed).verdict.decision is Decision.DENY


def test_releases_are_kept_apart(allowed: Release, make_release: Callable[..., Release]) -> None:
    other = make_release("v2")
    both = verdicts_of(list(Release.objects.filter(pk__in=[allowed.pk, other.pk])))
    assert [both[pk].verdict.decision for pk in (allowed.pk, other.pk)] == [Decision.ALLOW, Decision.DENY]


def test_a_page_derives_its_old_verdicts_together_and_leaves_its_young_ones(
    allowed: Release, make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, derived = time.monotonic(), []
    monkeypatch.setattr(kept_verdicts.time, "monotonic", lambda: clock)
    derive = kept_verdicts.view_of
    monkeypatch.setattr(kept_verdicts, "view_of", lambda row, by: derived.append(row.tag) or derive(row, by))
    kept(make_release("v2"))
    clock += KEPT_SECONDS / 2
    kept(make_release("v3"))
    make_release("v4")
    derived.clear()
    verdicts_of(list(Release.objects.filter(tag__in=["v2", "v3", "v4"])))
    assert sorted(derived) == ["v2", "v4"]
