"""Template tags for how checks stand: marks, and the picture of a chain."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from builds.domain.chain_drawing import Box, Drawing
from builds.domain.marks import Marked
from builds.domain.sentence import part_name
from builds.domain.tones import tone_of
from builds.templatetags.portal import state

register = template.Library()


@register.simple_tag
def marked(value: Marked) -> SafeString:
    return state(value.words, tone_of(value.mark))


@register.filter
def plainly(name: str) -> str:
    """A component or part by the name that people use."""
    return part_name(name)


@register.inclusion_tag("builds/partials/chain.html")
def chain_picture(drawing: Drawing) -> dict[str, object]:
    """The chain as an SVG; every step and tie is a link to its evidence."""
    parts = [(part, isinstance(part, Box), tone_of(part.mark)) for part in drawing.parts]
    return {"drawing": drawing, "parts": parts}
