"""Template tags for the page of meanings and its legend."""

from __future__ import annotations

from django import template

from builds.domain.meanings import LEGEND, Axis

register = template.Library()


@register.simple_tag
def legend_axes() -> tuple[Axis, ...]:
    return LEGEND
