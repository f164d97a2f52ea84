"""What a summary names as its inputs: the statements that the verdict was derived from, and no others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from attestations.domain.summary import CountedRebuild, VerdictSummary
from attestations.services import verdicts
from attestations.services.verdicts import record_all
from builds.models import Rebuild, RebuilderKey, Release, StoredStatement
from builds.services.operators import set_aside
from tests.support.attacks import hand_in, refusal, signed, signed_by
from tests.support.operators import operator_named
from tests.support.records import records, summary_of

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


def test_the_inputs_of_a_summary_are_the_statements_that_counted_then(make_release: MakeRelease) -> None:
    release = make_release()
    data = signed(release, "ada").as_bytes()
    hand_in(data)
    hand_in(signed_by(operator_named("newcomer", accepted=False), release).as_bytes())
    (record,) = records(release)
    summary, ada = summary_of(record), operator_named("ada").public.fingerprint
    assert [entry.sha256 for entry in summary.inputs] == [hashlib.sha256(data).hexdigest()]
    assert summary.rebuilds == (CountedRebuild(hashlib.sha256(data).hexdigest(), ada, "ada"),)


def test_a_verdict_of_before_rebuilds_were_named_is_signed_anew_once(
    make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    monkeypatch.setattr(verdicts, "_FORM", 1)
    monkeypatch.setattr(verdicts, "VerdictSummary", lambda **said: VerdictSummary(**{**said, "rebuilds": None}))
    hand_in(signed(release, "ada").as_bytes())
    assert summary_of(records(release)[-1]).rebuilds is None
    monkeypatch.undo()
    assert (record_all(), record_all()) == (1, 0)
    (rebuild,) = summary_of(records(release)[-1]).rebuilds or ()
    assert rebuild.operator == "ada"


@pytest.mark.parametrize("material", [{"certificate": {"rawBytes": "eA=="}}, {"tlogEntries": [{"logIndex": "1"}]}])
def test_what_a_workflow_signed_is_taken_from_no_rebuilder(make_release: MakeRelease, material: dict[str, Any]) -> None:
    bundle = json.loads(signed(make_release(), "ada").as_bundle("ada"))
    bundle["verificationMaterial"] |= material
    status, code, text = refusal(hand_in(json.dumps(bundle).encode()))
    assert (status, code) == (400, "malformed-envelope")
    assert "signs with a plain key" in text


def test_a_statement_that_takes_anothers_place_is_an_input_of_a_new_summary(make_release: MakeRelease) -> None:
    release = make_release()
    for name in ("ada", "ben"):
        hand_in(signed(release, name).as_bytes())
    data = signed(release, "carol").as_bytes()
    set_aside(Rebuild.objects.get(rebuilder__operator__slug="ben"), reason="bad memory", by="Cy")
    hand_in(data)
    newest = summary_of(records(release)[-1])
    assert newest.tally.reproduced == 2
    named = {entry.sha256 for entry in newest.inputs}
    assert hashlib.sha256(data).hexdigest() in named
    aside = StoredStatement.objects.get(rebuild__set_aside__isnull=False)
    assert hashlib.sha256(bytes(aside.content)).hexdigest() not in named


def test_an_operator_that_fails_is_counted_in_the_newest_summary_too(make_release: MakeRelease) -> None:
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    Rebuild.objects.create(
        release=release,
        rebuilder=RebuilderKey.objects.get(fingerprint=operator_named("eve").public.fingerprint).rebuilder,
        state="failed",
        failure={"code": "build-failed", "what": "x", "where": "x", "todo": "x"},
        started_at=timezone.now(),
        finished_at=timezone.now(),
    )
    assert record_all() == 1
    assert summary_of(records(release)[-1]).tally.failed == 1
