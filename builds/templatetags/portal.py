"""Template tags that show a state as word, shape and colour together."""

from __future__ import annotations

from enum import StrEnum

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds.domain.comparison import SAME_INPUT, RebuildOutcome
from builds.domain.evidence import AttestationState
from builds.domain.expectation import NOT_BEGUN
from builds.domain.lifecycle import RunState, StageState
from builds.domain.tones import tone_of
from builds.domain.verdict import Decision, ReleaseVerdict
from builds.services.evidence import ComponentRow

register = template.Library()

_GOOD, _BAD, _OPEN, _PLAIN = "good", "bad", "open", "plain"
_BROKEN = {"failed", "unmet", "absent"}


@register.simple_tag
def state(word: str, tone: str) -> SafeString:
    return format_html('<span class="state {}">{}</span>', tone, word)


@register.simple_tag
def state_of(value: StrEnum) -> SafeString:
    """A state of any kind that ``builds.domain.tones`` knows, by its own word."""
    return state(value.value, tone_of(value))


@register.simple_tag
def outcome(value: RebuildOutcome | None) -> SafeString:
    if value is None:
        return state("not rebuilt yet", _OPEN)
    return state_of(value)


@register.simple_tag
def rebuilt(verdict: ReleaseVerdict) -> SafeString:
    """What rebuilds came to, for a list: fewer than are needed is nothing that has been shown."""
    tally = verdict.tally
    if verdict.outcome is RebuildOutcome.REPRODUCED and tally.reproduced < tally.needed:
        return state(f"reproduced by {tally.reproduced} of {tally.needed} needed", _OPEN)
    return outcome(verdict.outcome)


@register.simple_tag
def outcome_words(row: ComponentRow) -> SafeString:
    if row.comparison is None:
        return outcome(None)
    return state(row.outcome_words, tone_of(row.comparison.outcome))


@register.simple_tag
def run_state(value: str) -> SafeString:
    return state_of(RunState(value))


@register.simple_tag
def stage_state(value: StageState | None) -> SafeString:
    """Of one stage; None is one that is to come. That a stage succeeded says nothing about what the rebuild gave."""
    if value is None:
        return state(NOT_BEGUN, _PLAIN)
    return state_of(value)


@register.simple_tag
def attestation_state(value: str) -> SafeString:
    return state_of(AttestationState(value))


@register.simple_tag
def attestation(verdict: ReleaseVerdict) -> SafeString:
    """A whole release's: the most alarming state of its components."""
    return state_of(verdict.attestation or AttestationState.UNCHECKED)


@register.simple_tag
def check_state(value: str) -> SafeString:
    """A check or a clause: what was not asked or not used proves nothing, and looks so."""
    return state(value, {"passed": _GOOD, "met": _GOOD}.get(value, _BAD if value in _BROKEN else _PLAIN))


@register.simple_tag
def result_outcome(value: RebuildOutcome | None, why_not: str | None = None, copied: bool | None = None) -> SafeString:
    """Of one result: None means that the release names nothing to compare it with.

    One that does not count, which is when ``why_not`` says something, speaks for nothing and looks so. The same bytes
    of a component that was only ``copied`` read ``same input``.
    """
    if value is None:
        return state("nothing to compare with", _OPEN)
    if value is not RebuildOutcome.REPRODUCED:
        return outcome(value)
    return state(SAME_INPUT if copied else value.value, _PLAIN if why_not else tone_of(value))


@register.simple_tag
def key_state(value: str) -> SafeString:
    """A rebuilder's key: what is not in force any more is no alarm."""
    return state(value, _GOOD if value == "accepted" else _OPEN)


@register.simple_tag
def token_state(value: str) -> SafeString:
    """An account's token: one that ended is no alarm."""
    return state(value, {"live": _GOOD, "expired": _OPEN}.get(value, _PLAIN))


@register.simple_tag
def recorded_decision(value: str) -> SafeString:
    """Of a record."""
    return state_of(Decision(value))


@register.simple_tag
def recorded_outcome(value: str) -> SafeString:
    """As ``outcome``, of a record; empty means that nobody's rebuild counted."""
    return outcome(RebuildOutcome(value) if value else None)


@register.filter
def lookup(sentences: dict[str, str], key: str) -> str:
    """The entry of a mapping whose key is only known here; "" when there is none."""
    return sentences.get(key, "")
