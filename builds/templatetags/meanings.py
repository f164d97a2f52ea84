"""Template tags for the page of meanings and its legend: any state as every other page shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import template
from django.utils.safestring import SafeString

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState
from builds.domain.coverage import Coverage
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.lifecycle import RunState
from builds.domain.meanings import LEGEND, Axis, State
from builds.domain.origins import OriginKind
from builds.domain.verdict import Decision
from builds.templatetags import portal

register = template.Library()

_ORIGIN_TONE = {
    OriginKind.BUILT: "good",
    OriginKind.PACKAGE: "plain",
    OriginKind.SOURCE: "plain",
    OriginKind.OPAQUE: "open",
}


_COVERAGE_TONE = {
    Coverage.COVERED: "good",
    Coverage.NOT_COVERED: "bad",
    Coverage.UNKNOWN: "open",
    Coverage.NOT_USED: "plain",
}

_SHOWN: dict[type, Callable[[Any], SafeString]] = {
    RunState: portal.run_state,
    RebuildOutcome: portal.outcome,
    AttestationState: portal.attestation_state,
    MeasurementState: portal.measurement_state,
    Coverage: lambda value: portal.state(value.value, _COVERAGE_TONE[value]),
    ConditionState: portal.condition_state,
    Decision: portal.decision,
    OriginKind: lambda value: portal.state(value.value, _ORIGIN_TONE[value]),
}


@register.simple_tag
def any_state(value: State) -> SafeString:
    """Word, shape and colour of a state of any axis, by the tag that shows it on its own pages."""
    return _SHOWN[type(value)](value)


@register.simple_tag
def legend_axes() -> tuple[Axis, ...]:
    return LEGEND
