import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.lifecycle import LIVE_STATES, TRANSITIONS, ForbiddenTransition, RunState, check_transition


@given(st.sampled_from(RunState), st.sampled_from(RunState))
def test_only_the_written_moves_are_allowed(current: RunState, target: RunState) -> None:
    if target in TRANSITIONS[current]:
        check_transition(current, target)
    else:
        with pytest.raises(ForbiddenTransition):
            check_transition(current, target)


def test_an_ended_rebuild_never_moves_again() -> None:
    assert {state for state in RunState if state.is_final} == {
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.CANCELLED,
        RunState.LOST,
    }
    assert set(LIVE_STATES) == {RunState.QUEUED, RunState.RUNNING}


def test_only_a_running_rebuild_can_succeed() -> None:
    assert [state for state in RunState if RunState.SUCCEEDED in TRANSITIONS[state]] == [RunState.RUNNING]
