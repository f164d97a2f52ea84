"""How each state looks beside its word: ``good``, ``bad``, ``open`` (not known yet, or not alarming) or ``plain``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState
from builds.domain.configuration import Standing
from builds.domain.coverage import ATTESTATION_MARKS, Coverage
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.lifecycle import RunState, StageState
from builds.domain.likeness import Likeness
from builds.domain.marks import Mark
from builds.domain.origins import OriginKind
from builds.domain.sealing import Sealing
from builds.domain.verdict import Decision

_GOOD, _BAD, _OPEN, _PLAIN = "good", "bad", "open", "plain"

_MARKS: Mapping[StrEnum, str] = {
    Mark.HOLDS: _GOOD,
    Mark.BROKEN: _BAD,
    Mark.UNKNOWN: _OPEN,
    Mark.UNUSED: _PLAIN,
}
_RUNS: Mapping[StrEnum, str] = {
    RunState.QUEUED: _OPEN,
    RunState.RUNNING: _OPEN,
    RunState.SUCCEEDED: _PLAIN,
    RunState.FAILED: _BAD,
    RunState.CANCELLED: _PLAIN,
    RunState.LOST: _BAD,
}
# By their types: states of two types may have one word, and are then equal.
_TONES: Mapping[type[StrEnum], Mapping[StrEnum, str]] = {
    Mark: _MARKS,
    RunState: _RUNS,
    # Of a run that succeeded its outcome tells what it gave; a stage has nothing more to tell.
    StageState: {
        state: _GOOD if state is StageState.SUCCEEDED else _RUNS[RunState(state.value)] for state in StageState
    },
    RebuildOutcome: {RebuildOutcome.REPRODUCED: _GOOD, RebuildOutcome.MISMATCHED: _BAD, RebuildOutcome.MISSING: _BAD},
    AttestationState: {state: _MARKS[mark] for state, mark in ATTESTATION_MARKS.items()},
    MeasurementState: {
        MeasurementState.MATCHES: _GOOD,
        MeasurementState.DIFFERS: _BAD,
        MeasurementState.UNKNOWN: _OPEN,
    },
    Standing: {
        # That a value is published says nothing of whether to trust it: the decision does.
        Standing.PUBLISHED: _PLAIN,
        Standing.FOLLOWS: _PLAIN,
        Standing.NOT_COVERED: _BAD,
        Standing.DIFFERS: _BAD,
        Standing.UNKNOWN: _OPEN,
    },
    Coverage: {
        Coverage.COVERED: _GOOD,
        Coverage.NOT_COVERED: _BAD,
        Coverage.UNKNOWN: _OPEN,
        Coverage.NOT_USED: _PLAIN,
    },
    ConditionState: {ConditionState.MET: _GOOD, ConditionState.UNMET: _BAD, ConditionState.UNKNOWN: _OPEN},
    Decision: {Decision.ALLOW: _GOOD, Decision.DENY: _BAD},
    OriginKind: {
        OriginKind.BUILT: _GOOD,
        OriginKind.PACKAGE: _PLAIN,
        OriginKind.SOURCE: _PLAIN,
        OriginKind.OPAQUE: _OPEN,
    },
    # Between releases a change is no accusation.
    Likeness: {
        Likeness.SAME: _GOOD,
        Likeness.CHANGED: _PLAIN,
        Likeness.ADDED: _PLAIN,
        Likeness.REMOVED: _PLAIN,
        Likeness.UNKNOWN: _OPEN,
    },
    Sealing: {sealing: {Sealing.OPENS: _PLAIN, Sealing.FIRMWARE_ONLY: _BAD}.get(sealing, _OPEN) for sealing in Sealing},
}


def tone_of(state: StrEnum) -> str:
    """The tone of a state of any of these types."""
    return _TONES[type(state)][state]
