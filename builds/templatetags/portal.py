"""Template tags that show a state as word, shape and colour together."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState
from builds.domain.configuration import Standing
from builds.domain.coverage import ATTESTATION_MARKS
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.expectation import NOT_BEGUN
from builds.domain.lifecycle import RunState, StageState
from builds.domain.marks import Mark
from builds.domain.verdict import Decision, ReleaseVerdict
from builds.services.evidence import ComponentRow

register = template.Library()

_GOOD, _BAD, _OPEN, _PLAIN = "good", "bad", "open", "plain"

_OUTCOME_TONE = {
    RebuildOutcome.REPRODUCED: _GOOD,
    RebuildOutcome.MISMATCHED: _BAD,
    RebuildOutcome.MISSING: _BAD,
}
_RUN_TONE = {
    RunState.QUEUED: _OPEN,
    RunState.RUNNING: _OPEN,
    RunState.SUCCEEDED: _PLAIN,
    RunState.FAILED: _BAD,
    RunState.CANCELLED: _PLAIN,
    RunState.LOST: _BAD,
}
_MEASUREMENT_TONE = {
    MeasurementState.MATCHES: _GOOD,
    MeasurementState.DIFFERS: _BAD,
    MeasurementState.UNKNOWN: _OPEN,
}
_STANDING_TONE = {
    # That a value is published says nothing of whether to trust it: the decision does.
    Standing.PUBLISHED: _PLAIN,
    Standing.FOLLOWS: _PLAIN,
    Standing.NOT_COVERED: _BAD,
    Standing.DIFFERS: _BAD,
    Standing.UNKNOWN: _OPEN,
}
_CONDITION_TONE = {ConditionState.MET: _GOOD, ConditionState.UNMET: _BAD, ConditionState.UNKNOWN: _OPEN}
TONES = {Mark.HOLDS: _GOOD, Mark.BROKEN: _BAD, Mark.UNKNOWN: _OPEN, Mark.UNUSED: _PLAIN}
_BROKEN = {"failed", "unmet", "absent"}


@register.simple_tag
def state(word: str, tone: str) -> SafeString:
    return format_html('<span class="state {}">{}</span>', tone, word)


@register.simple_tag
def outcome(value: RebuildOutcome | None) -> SafeString:
    if value is None:
        return state("not rebuilt yet", _OPEN)
    return state(value.value, _OUTCOME_TONE[value])


@register.simple_tag
def outcome_words(row: ComponentRow) -> SafeString:
    if row.comparison is None:
        return outcome(None)
    return state(row.outcome_words, _OUTCOME_TONE[row.comparison.outcome])


@register.simple_tag
def run_state(value: str) -> SafeString:
    return state(value, _RUN_TONE[RunState(value)])


@register.simple_tag
def stage_state(value: StageState | None) -> SafeString:
    """Of one stage; None is one that is to come. That a stage succeeded says nothing about what the rebuild gave."""
    if value is None:
        return state(NOT_BEGUN, _PLAIN)
    return state(value.value, _GOOD if value is StageState.SUCCEEDED else _RUN_TONE[RunState(value.value)])


@register.simple_tag
def measurement_state(value: MeasurementState) -> SafeString:
    return state(value.value, _MEASUREMENT_TONE[value])


@register.simple_tag
def standing_state(value: Standing) -> SafeString:
    return state(value.value, _STANDING_TONE[value])


@register.simple_tag
def condition_state(value: ConditionState) -> SafeString:
    return state(value.value, _CONDITION_TONE[value])


@register.simple_tag
def attestation_state(value: str) -> SafeString:
    return state(value, TONES[ATTESTATION_MARKS[AttestationState(value)]])


@register.simple_tag
def attestation(verdict: ReleaseVerdict) -> SafeString:
    """A whole release's: the most alarming state of its components."""
    return attestation_state((verdict.attestation or AttestationState.UNCHECKED).value)


@register.simple_tag
def check_state(value: str) -> SafeString:
    """A check or a clause: what was not asked or not used proves nothing, and looks so."""
    return state(value, {"passed": _GOOD, "met": _GOOD}.get(value, _BAD if value in _BROKEN else _PLAIN))


@register.simple_tag
def result_outcome(value: RebuildOutcome | None) -> SafeString:
    """Of one result: None means that the release names nothing to compare it with."""
    return state("nothing to compare with", _OPEN) if value is None else outcome(value)


@register.simple_tag
def key_state(value: str) -> SafeString:
    """A rebuilder's key: what is not in force any more is no alarm."""
    return state(value, _GOOD if value == "accepted" else _OPEN)


@register.simple_tag
def token_state(value: str) -> SafeString:
    """An account's token: one that ended is no alarm."""
    return state(value, {"live": _GOOD, "expired": _OPEN}.get(value, _PLAIN))


@register.simple_tag
def decision(value: Decision) -> SafeString:
    return state(value.value, _GOOD if value is Decision.ALLOW else _BAD)


@register.simple_tag
def recorded_decision(value: str) -> SafeString:
    """As ``decision``, of a record."""
    return decision(Decision(value))


@register.simple_tag
def recorded_outcome(value: str) -> SafeString:
    """As ``outcome``, of a record; empty means that nobody's rebuild counted."""
    return outcome(RebuildOutcome(value) if value else None)


@register.filter
def lookup(sentences: dict[str, str], key: str) -> str:
    """The entry of a mapping whose key is only known here; "" when there is none."""
    return sentences.get(key, "")
