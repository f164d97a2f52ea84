"""How each state looks: none is left out, and what nobody knows never looks good."""

from __future__ import annotations

from enum import StrEnum

import pytest

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState
from builds.domain.configuration import Standing
from builds.domain.coverage import Coverage
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.lifecycle import RunState, StageState
from builds.domain.likeness import Likeness
from builds.domain.marks import Mark
from builds.domain.origins import OriginKind
from builds.domain.sealing import Sealing
from builds.domain.tones import tone_of
from builds.domain.verdict import Decision

KINDS: list[type[StrEnum]] = [
    *(RebuildOutcome, ConditionState, Standing, Coverage, AttestationState, MeasurementState, RunState, StageState),
    *(Likeness, Mark, OriginKind, Sealing, Decision),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_has_a_tone_and_what_is_not_known_is_open(kind: type[StrEnum]) -> None:
    for state in kind:
        assert tone_of(state) in {"good", "bad", "open", "plain"}
        if "unknown" in state.value or "unchecked" in state.value:
            assert tone_of(state) == "open"


def test_one_word_of_two_kinds_keeps_the_tone_of_its_kind() -> None:
    assert (RunState.SUCCEEDED.value, tone_of(RunState.SUCCEEDED)) == (StageState.SUCCEEDED.value, "plain")
    assert tone_of(StageState.SUCCEEDED) == "good"
