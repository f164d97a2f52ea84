"""What several operators say together: who counts, in what order of reasons, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import RebuildOutcome, compare, overall_outcome
from builds.domain.consensus import (
    ResultFacts,
    Tally,
    component_tallies,
    contradicting,
    environment_difference,
    standing_of,
    tally_of,
    unlike_roles,
)
from builds.domain.evidence import OperatorResult, Policy, ReleaseEvidence
from builds.domain.roles import Role
from tests.domain.test_comparison import file_digests, honest

MOMENT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
COUNTS = ResultFacts(
    signed_at=MOMENT,
    used_network=False,
    other_materials=False,
    operator_accepted=True,
    affiliation="",
    key_accepted=True,
    key_revoked_at=None,
    set_aside="",
)
AGAINST: dict[str, dict[str, Any]] = {
    "Nobody signed it": {"signed_at": None},
    "Set aside: wrong disk": {"set_aside": "wrong disk"},
    "It came after its key was revoked (2026-11-20 12:00 UTC)": {"key_revoked_at": MOMENT},
    "The recipe asks for the network": {"used_network": True},
    "other materials than the release's lock": {"other_materials": True},
    "The operator is pending": {"operator_accepted": False},
    "The key is pending": {"key_accepted": False},
    "The operator is tied to the publisher: its own CI": {"affiliation": "its own CI"},
}


def test_a_result_with_nothing_against_it_counts() -> None:
    assert COUNTS.not_counted == ""
    assert standing_of(operator_accepted=True, key_accepted=True, affiliation="") == ""


@pytest.mark.parametrize(("words", "fact"), AGAINST.items())
def test_each_thing_against_a_result_alone_keeps_it_from_counting_and_is_said(words: str, fact: dict[str, Any]) -> None:
    assert words in replace(COUNTS, **fact).not_counted


@given(st.sets(st.sampled_from(sorted(AGAINST)), min_size=1))
def test_nothing_makes_up_for_what_speaks_against_a_result(reasons: set[str]) -> None:
    facts = COUNTS
    for reason in reasons:
        facts = replace(facts, **AGAINST[reason])
    assert any(reason in facts.not_counted for reason in reasons)


@given(st.integers(-(10**6), 10**6))
def test_what_was_received_before_its_key_was_revoked_stays_and_what_came_after_does_not(seconds: int) -> None:
    facts = replace(COUNTS, key_revoked_at=MOMENT + timedelta(seconds=seconds))
    assert (facts.not_counted == "") is (seconds > 0)


def result(operator: str, outcome: RebuildOutcome | None, *, counts: bool = True) -> OperatorResult:
    seed = "a" if outcome is RebuildOutcome.REPRODUCED else "b"
    rows = compare([honest(role) for role in Role], {role: file_digests(seed) for role in Role})
    return OperatorResult(operator, rows, outcome, (), "" if counts else "It does not count.")


def evidence(results: list[OperatorResult], needed: int = 2, failed: int = 0) -> ReleaseEvidence:
    return ReleaseEvidence(
        commit="c" * 40,
        components=(),
        contradictions=(),
        absent=(),
        attestations={},
        results=tuple(results),
        measurements=(),
        policy=Policy(needed, frozenset()),
        failed=failed,
    )


RESULTS = st.lists(
    st.builds(
        result,
        st.uuids().map(str),
        st.sampled_from([*RebuildOutcome, None]),
        counts=st.booleans(),
    ),
    max_size=8,
)


@given(results=RESULTS, needed=st.integers(1, 5), failed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_the_tally_counts_what_counts_and_nothing_else_in_any_order(
    results: list[OperatorResult], needed: int, failed: int, order: Any
) -> None:
    tally = tally_of(evidence(results, needed, failed))
    said = [entry.outcome for entry in results if not entry.not_counted and entry.outcome is not None]
    assert tally.reproduced == said.count(RebuildOutcome.REPRODUCED)
    assert tally.contradicting == len(said) - tally.reproduced
    assert (tally.needed, tally.failed, tally.counted) == (needed, failed, len(said))
    turned = list(results)
    order.shuffle(turned)
    assert tally_of(evidence(turned, needed, failed)) == tally


@given(results=RESULTS, failed=st.integers(0, 5))
def test_failures_and_what_does_not_count_never_move_the_other_numbers(
    results: list[OperatorResult], failed: int
) -> None:
    counting = [entry for entry in results if entry.counts]
    one, other = tally_of(evidence(results, failed=failed)), tally_of(evidence(counting))
    assert (one.reproduced, one.contradicting) == (other.reproduced, other.contradicting)


def test_the_words_of_a_tally_round_nothing_up() -> None:
    found = [result("a", RebuildOutcome.REPRODUCED), result("b", RebuildOutcome.MISSING)]
    assert tally_of(evidence(found, failed=1)).words == "1 of 2 reproduced, 1 contradict, 1 failed"


@given(rows=st.lists(st.tuples(st.sets(st.sampled_from(Role)), st.booleans()), max_size=6))
def test_each_component_is_tallied_by_itself_over_those_who_count(rows: list[tuple[set[Role], bool]]) -> None:
    published = tuple(honest(role) for role in Role)
    results = []
    for number, (differing, counts) in enumerate(rows):
        digests = {role: file_digests("b" if role in differing else "a") for role in Role}
        comparisons = compare(published, digests)
        results.append(
            OperatorResult(
                str(number), comparisons, overall_outcome(comparisons), (), "" if counts else "It does not count."
            )
        )
    tallies = component_tallies(replace(evidence(results, failed=2), components=published))
    counted = [differing for differing, counts in rows if counts]
    for role in Role:
        against = sum(role in differing for differing in counted)
        assert tallies[role] == Tally(2, len(counted) - against, against, 2)


def test_who_made_no_such_component_contradicts_it() -> None:
    published = (honest(Role.KATANA), honest(Role.DISK))
    comparisons = compare(published, {Role.KATANA: file_digests("a")})
    made = OperatorResult("ada", comparisons, overall_outcome(comparisons), ())
    tallies = component_tallies(replace(evidence([made]), components=published))
    assert (tallies[Role.KATANA].reproduced, tallies[Role.DISK].contradicting) == (1, 1)


def test_who_contradicts_is_who_did_not_reproduce() -> None:
    found = [result("a", RebuildOutcome.REPRODUCED), result("b", RebuildOutcome.MISMATCHED)]
    assert [entry.operator for entry in contradicting(found)] == ["b"]


def test_operators_are_unlike_in_a_component_where_one_got_or_lacks_what_another_does_not() -> None:
    same, other = result("a", RebuildOutcome.MISMATCHED), result("b", RebuildOutcome.MISMATCHED)
    assert unlike_roles([same, other]) == set()
    assert unlike_roles([same, result("c", RebuildOutcome.REPRODUCED)]) == {row.role for row in same.comparisons}
    lacking = replace(other, comparisons=compare([honest(role) for role in Role], {}))
    assert unlike_roles([same, lacking]) == set(Role)
    assert unlike_roles([lacking, lacking]) == set()
    assert unlike_roles([]) == set()


NAMES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), max_size=4)


@given(NAMES, NAMES)
def test_environments_are_told_apart_by_every_name_that_differs_or_one_lacks(
    one: dict[str, int], other: dict[str, int]
) -> None:
    told = environment_difference(one, other)
    named = [line.partition(":")[0] for line in told]
    assert named == sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    assert environment_difference(one, one) == []
    for line in told:
        name = line.partition(":")[0]
        assert line == f"{name}: {one.get(name, 'unknown')} and {other.get(name, 'unknown')}"
