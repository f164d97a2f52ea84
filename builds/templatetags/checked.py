"""Template tags for how checks stand: marks, the picture of a chain, and two digests beside each other."""

from __future__ import annotations

import itertools

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from builds.domain.chain_drawing import Box, Drawing
from builds.domain.digest_difference import DigestParts, difference_of
from builds.domain.marks import Marked
from builds.domain.printable import in_brief
from builds.domain.sentence import part_name
from builds.templatetags.portal import TONES, state
from builds.templatetags.shown import digest

register = template.Library()


@register.simple_tag
def marked(value: Marked) -> SafeString:
    return state(value.words, TONES[value.mark])


@register.filter
def plainly(name: str) -> str:
    """A component or part by the name that people use."""
    return part_name(name)


@register.filter
def shortened(text: object) -> str:
    """A stranger's text as one line of at most 300 characters, where the whole of it stands elsewhere on the page."""
    return in_brief(str(text))


@register.inclusion_tag("builds/partials/chain.html")
def chain_picture(drawing: Drawing) -> dict[str, object]:
    """The chain as an SVG; every step and tie is a link to its evidence."""
    parts = [(part, isinstance(part, Box), TONES[part.mark]) for part in drawing.parts]
    return {"drawing": drawing, "parts": parts}


@register.simple_tag
def beside(*named: object) -> SafeString:
    """Digests under each other, given as name, digest, name, digest; one that is not known is left out.

    Each is whole and can be copied. Where one is another than the first, the first differing character of both is
    marked, and told in words.
    """
    known = [(str(name), str(value)) for name, value in itertools.batched(named, 2, strict=True) if value]
    if not known:
        return format_html("")
    first = known[0][1]
    found = [difference_of(_hex(first), _hex(value)) for _, value in known]
    marks = [difference.other if difference is not None else None for difference in found]
    marks[0] = next((difference.one for difference in found if difference is not None), None)
    rows = [
        (name, digest(value) if parts is None else _with_mark(value, parts))
        for (name, value), parts in zip(known, marks, strict=True)
    ]
    words = [f"{name} {difference.words}" for (name, _), difference in zip(known, found, strict=True) if difference]
    said = format_html('<p class="quiet">The {}.</p>', "; the ".join(words)) if words else ""
    return format_html('<dl class="beside">{}</dl>{}', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows), said)


def _hex(text: str) -> str:
    return text.rpartition(":")[2]


def _with_mark(text: str, parts: DigestParts) -> SafeString:
    algorithm, colon, _ = text.rpartition(":")
    return format_html(
        '<span class="digest">{}{}{}<mark>{}</mark>{}</span> '
        '<button type="button" class="copy" data-copy="{}" aria-label="Copy {}" hidden>copy</button>',
        algorithm,
        colon,
        parts.common,
        parts.mark,
        parts.rest,
        text,
        text,
    )
