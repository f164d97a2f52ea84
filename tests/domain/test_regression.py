"""Worse means that something known to be good is known to be bad: never that somebody has not looked yet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.regression import change_words, worse_than
from builds.domain.release_filters import Standing
from builds.domain.verdict import Decision

STANDINGS = st.builds(
    Standing,
    decision=st.sampled_from([str(value) for value in Decision]),
    outcome=st.sampled_from(["", *map(str, RebuildOutcome)]),
    attestation=st.sampled_from(["", *map(str, AttestationState)]),
    measurement=st.sampled_from(["", *map(str, MeasurementState)]),
)
GOOD = Standing("allow", "reproduced", "verified", "matches")


@given(STANDINGS)
def test_nothing_is_worse_than_itself(standing: Standing) -> None:
    assert worse_than(standing, standing, "v1") == ""
    assert change_words(standing, standing) == ""


@given(STANDINGS)
def test_nothing_is_worse_than_what_was_all_bad(now: Standing) -> None:
    assert worse_than(Standing("deny", "mismatched", "wrong-identity", "differs"), now, "v1") == ""


@given(STANDINGS)
def test_what_nobody_has_looked_at_is_not_worse(before: Standing) -> None:
    assert worse_than(before, Standing("deny", "", "unchecked", "unknown"), "v1") == ""


@given(STANDINGS, STANDINGS)
def test_whatever_is_worse_is_a_sentence_that_names_the_release_before(before: Standing, now: Standing) -> None:
    sentence = worse_than(before, now, "v1")
    assert sentence == "" or (sentence[0].isupper() and "v1" in sentence and sentence.endswith("."))


def test_each_axis_that_got_worse_is_named() -> None:
    worse = worse_than(GOOD, Standing("deny", "mismatched", "absent", "differs"), "v1")
    assert "files are mismatched" in worse
    assert "attestation is absent" in worse
    assert "launch measurement differs" in worse
    assert (
        worse_than(GOOD, Standing("deny", "reproduced", "verified", "matches"), "v1") == "It is denied, v1 was allowed."
    )


def test_a_change_names_what_was_and_what_is() -> None:
    now = Standing("deny", "", "verified", "matches")
    assert change_words(GOOD, now) == "decision deny, was allow; rebuilt files not known, was reproduced"
    assert change_words(None, now) == "first verdict"
