"""What a running rebuild is expected to take, and how its bar reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.expectation import BegunStage, Plan, plan_of
from builds.domain.lifecycle import StageState

START = datetime(2026, 3, 4, tzinfo=UTC)
EARLIER = [{"source": 1.0, "base": 10.0, "image": 100.0}, {"source": 3.0, "base": 30.0, "image": 300.0}]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def stage(name: str, began: float, ended: float | None, state: StageState = StageState.SUCCEEDED) -> BegunStage:
    if ended is None:
        return BegunStage(name, StageState.RUNNING, at(began), None)
    return BegunStage(name, state, at(began), at(ended))


def plan(*begun: BegunStage, now: float = 0, live: bool = True, earlier: list[dict[str, float]] = EARLIER) -> Plan:
    return plan_of(begun, earlier, began_at=START, now=at(now), is_live=live)


def test_stages_to_come_follow_those_that_began_and_each_says_what_it_took_before() -> None:
    found = plan(stage("source", 0, 2), stage("base", 2, None), now=12)
    assert [(bar.name, bar.word, bar.elapsed, bar.expected) for bar in found.stages] == [
        ("source", "succeeded", 2.0, 2.0),
        ("base", "running", 10.0, 20.0),
        ("image", "to come", None, 200.0),
    ]
    assert (found.elapsed, found.expected, found.runs) == (12.0, 222.0, 2)
    assert found.ends_at == at(222)
    assert not found.is_over


def test_without_an_earlier_run_nothing_is_expected() -> None:
    found = plan(stage("source", 0, None), now=5, earlier=[])
    assert (found.runs, found.expected, found.ends_at) == (0, None, None)
    assert [(bar.name, bar.expected) for bar in found.stages] == [("source", None)]


def test_a_run_that_ended_has_no_stage_to_come() -> None:
    found = plan(stage("source", 0, 1), stage("base", 1, 2, StageState.FAILED), now=2, live=False)
    assert [bar.word for bar in found.stages] == ["succeeded", "failed"]


def test_one_that_takes_far_longer_is_said_to_be_slow_and_is_over() -> None:
    found = plan(stage("source", 0, 1), stage("base", 1, None), now=400)
    assert (found.is_over, found.stages[1].is_slow) == (True, True)
    assert not plan(stage("source", 0, None), now=59).stages[0].is_slow


def test_a_stage_that_earlier_runs_did_not_have_expects_nothing_and_the_rest_still_comes() -> None:
    found = plan(stage("other", 0, None), now=1)
    assert [bar.name for bar in found.stages] == ["other", "source", "base", "image"]
    assert found.stages[0].expected is None


def test_what_waits_has_not_begun() -> None:
    found = plan_of((), EARLIER, began_at=None, now=START, is_live=True)
    assert (found.elapsed, found.ends_at, {bar.word for bar in found.stages}) == (None, None, {"to come"})


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(-1e6, 1e6))
def test_no_clock_makes_a_time_negative(moments: list[float], now: float) -> None:
    begun = [stage(str(place), moment, None) for place, moment in enumerate(moments)]
    found = plan(*begun, now=now)
    assert all(bar.elapsed is None or bar.elapsed >= 0 for bar in found.stages)
