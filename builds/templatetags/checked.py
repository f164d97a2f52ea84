"""Template tags for how checks stand: marks, the picture of a chain, and two digests beside each other."""

from __future__ import annotations

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from builds.domain.chain_drawing import Box, Drawing
from builds.domain.digest_difference import DigestParts, difference_of
from builds.domain.marks import Mark, Marked
from builds.domain.printable import in_brief
from builds.domain.sentence import part_name
from builds.templatetags.portal import state
from builds.templatetags.shown import digest

register = template.Library()

_TONES = {Mark.HOLDS: "good", Mark.BROKEN: "bad", Mark.UNKNOWN: "open", Mark.UNUSED: "plain"}


@register.simple_tag
def marked(value: Marked) -> SafeString:
    return state(value.words, _TONES[value.mark])


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
    parts = [(part, isinstance(part, Box), _TONES[part.mark]) for part in drawing.parts]
    return {"drawing": drawing, "parts": parts}


@register.simple_tag
def beside(first: object, first_name: str, second: object, second_name: str) -> SafeString:
    """Two digests in lines under each other, the first differing character of each marked and told in words.

    Each is whole and can be copied. Without the second only the first is shown.
    """
    one, one_name, other, other_name = str(first), first_name, str(second or ""), second_name
    difference = difference_of(_hex(one), _hex(other)) if other else None
    if difference is None:
        rows = [(one_name, digest(one)), *([(other_name, digest(other))] if other else [])]
        return _rows(rows, "")
    mine, theirs = (_with_mark(text, parts) for text, parts in ((one, difference.one), (other, difference.other)))
    return _rows([(one_name, mine), (other_name, theirs)], difference.words)


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


def _rows(rows: list[tuple[str, SafeString]], words: str) -> SafeString:
    listed = format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows)
    said = format_html('<p class="quiet">The second {}.</p>', words) if words else ""
    return format_html('<dl class="beside">{}</dl>{}', listed, said)
