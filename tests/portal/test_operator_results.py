"""From what operators hand in to one voice each, whatever they hand in, however often and in what order."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestations.services.standing import judged_view
from builds.domain.consensus import Tally
from builds.domain.roles import Role
from builds.models import Operator, Rebuild, Rebuilder, Release
from builds.services import submitting
from builds.services.operators import revoke_key, set_aside, state_affiliation
from tests.support.attacks import signed_by
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COUNTING, PENDING, TIED = ("ada", "ben", "cy"), "newcomer", "the-publisher"


@dataclass(frozen=True)
class Attempt:
    """What one operator's rebuilder did; ``age`` is how many minutes ago it ended, unlike any other's."""

    operator: str
    rebuilder: int
    kind: str
    age: int

    @property
    def counts(self) -> bool:
        return self.operator in COUNTING and self.kind in {"reproduced", "mismatched", "missing"}


ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        st.sampled_from([*COUNTING, PENDING, TIED]),
        st.integers(1, 2),
        st.sampled_from(["reproduced", "reproduced", "mismatched", "missing", "failed", "other materials", "network"]),
        st.integers(1, 10**6),
    ),
    max_size=7,
    unique_by=lambda attempt: attempt.age,
)


def expected(attempts: list[Attempt]) -> Tally:
    """The newest counting result of each operator; failures of those that have no result at all."""
    newest: dict[str, Attempt] = {}
    for attempt in sorted(attempts, key=lambda attempt: -attempt.age):
        if attempt.counts:
            newest[attempt.operator] = attempt
    reproduced = sum(attempt.kind == "reproduced" for attempt in newest.values())
    failed = {attempt.operator for attempt in attempts if attempt.kind == "failed"}
    succeeded = {attempt.operator for attempt in attempts if attempt.kind != "failed"}
    return Tally(2, reproduced, len(newest) - reproduced, len(failed - succeeded))


def hand_in(release: Release, attempt: Attempt) -> None:
    label = f"{attempt.operator}-{attempt.rebuilder}"
    signer = operator_named(attempt.operator, accepted=attempt.operator != PENDING, rebuilder=label)
    moment = timezone.now() - timedelta(minutes=attempt.age)
    if attempt.kind == "failed":
        failure = {"code": "build-failed", "what": "x", "where": "x", "todo": "x"}
        worker = Rebuilder.objects.get(name=label)
        Rebuild.objects.create(
            release=release, rebuilder=worker, state="failed", failure=failure, finished_at=moment, queued_at=moment
        )
        return
    parts: dict[str, Any] = {
        "mismatched": {"changed": (Role.INITRD,)},
        "missing": {"changed": (Role.KERNEL, Role.DISK)},
        "other materials": {"materials": [], "changed": (Role.INITRD,)},
        "network": {"network": True},
    }.get(attempt.kind, {})
    submitting.accept(signed_by(signer, release, finished=moment, **parts).as_bytes())


def tally(release: Release) -> Tally:
    view, _ = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    return view.verdict.tally


@FEW
@given(attempts=ATTEMPTS, seed=st.integers(0, 2**32))
def test_each_operators_newest_counting_result_is_its_one_voice_in_whatever_order_they_come(
    make_release: Callable[..., Release], attempts: list[Attempt], seed: int
) -> None:
    turned = list(attempts)
    Random(seed).shuffle(turned)
    for order in (attempts, turned):
        with transaction.atomic():
            release = make_release(f"v{uuid.uuid4().hex}")
            operator_named(TIED)
            state_affiliation(Operator.objects.get(slug=TIED), release.project, what="its CI", by="Ada")
            for attempt in order:
                hand_in(release, attempt)
            assert tally(release) == expected(attempts)
            transaction.set_rollback(True)


def test_a_newer_result_replaces_an_older_one_of_the_same_operator_either_way(
    make_release: Callable[..., Release],
) -> None:
    release = make_release()
    hand_in(release, Attempt("ada", 1, "mismatched", 20))
    assert (tally(release).reproduced, tally(release).contradicting) == (0, 1)
    hand_in(release, Attempt("ada", 2, "reproduced", 10))
    assert (tally(release).reproduced, tally(release).contradicting) == (1, 0)
    hand_in(release, Attempt("ada", 1, "mismatched", 5))
    assert (tally(release).reproduced, tally(release).contradicting) == (0, 1)


def test_a_result_that_is_set_aside_gives_the_word_back_to_the_operators_older_one(
    make_release: Callable[..., Release],
) -> None:
    release = make_release()
    hand_in(release, Attempt("ada", 1, "reproduced", 20))
    hand_in(release, Attempt("ada", 1, "mismatched", 10))
    assert tally(release).contradicting == 1
    newest = Rebuild.objects.filter(statement__isnull=False).latest("statement__finished_on")
    set_aside(newest, reason="its memory was bad", by="Ada")
    assert (tally(release).reproduced, tally(release).contradicting) == (1, 0)


def test_results_received_before_a_key_was_revoked_stay_and_later_ones_are_marked(
    make_release: Callable[..., Release],
) -> None:
    release = make_release()
    signer = operator_named("ada")
    hand_in(release, Attempt("ada", 1, "reproduced", 20))
    revoke_key(signer.public.fingerprint, reason="lost", by="Ada")
    assert tally(release).reproduced == 1
    row = Rebuild.objects.get()
    moved = timezone.now() - timedelta(hours=1)
    revoke_key(signer.public.fingerprint, reason="lost an hour ago", by="Ada", since=moved)
    assert tally(release).reproduced == 0
    view, _ = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    (result,) = view.results
    assert result.rebuild == row
    assert result.evidence.not_counted.startswith("It came after its key was revoked")
