"""Template tags for pages that lay two of a kind beside each other."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from builds.domain.likeness import Likeness
from builds.templatetags.portal import state
from builds.templatetags.shown import size

register = template.Library()

_TONE = {
    Likeness.SAME: "good",
    Likeness.CHANGED: "plain",
    Likeness.ADDED: "plain",
    Likeness.REMOVED: "plain",
    Likeness.UNKNOWN: "open",
}


@register.simple_tag
def likeness_state(value: Likeness) -> SafeString:
    """That something changed is no accusation between releases: it looks plain."""
    return state(value.value, _TONE[value])


@register.filter
def growth(count: int | None) -> str:
    """A difference of sizes with sign and unit, exact in bytes."""
    if count is None:
        return "unknown"
    if count == 0:
        return "the same size"
    sign = "+" if count > 0 else "\N{MINUS SIGN}"
    exact = f"{sign}{abs(count):,} byte{'' if abs(count) == 1 else 's'}"
    return exact if abs(count) < 1024 else f"{exact} ({sign}{size(abs(count))})"  # noqa: PLR2004 - IEC 80000-13
