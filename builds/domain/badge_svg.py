"""A badge as SVG: no script, no style, nothing from elsewhere, and the same bytes on every machine.

Widths come from a table, because a server has no fonts to measure with; ``textLength`` makes whatever font the
reader has fit them.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from builds.domain.badge import Badge, Tone
from builds.domain.printable import xml_text

_HEIGHT, _PAD, _SHAPE = 20, 6, 15
_LABEL_COLOUR = "3b4148"

# Tenths of a pixel at 11 pixels, of a sans-serif as wide as Verdana and DejaVu Sans; the widest of both.
_WIDTHS = {
    **dict.fromkeys("ijl'|", 31),
    **dict.fromkeys(" .,ft·", 44),
    **dict.fromkeys("I/\\()[]:;-r!", 50),
    **dict.fromkeys("cszJ", 59),
    **dict.fromkeys('aeoxvykL"', 68),
    **dict.fromkeys("bdghnpqu0123456789_FEPT*?$", 71),
    **dict.fromkeys("ABCKRSVXYZ", 78),
    **dict.fromkeys("DGHNOQU", 87),
    **dict.fromkeys("w+=<>~^#&…M", 95),
    **dict.fromkeys("mW%@", 110),
}
_WIDEST = 125  # also of what the table does not know: too much room does no harm


def text_width(text: str) -> int:
    """Whole pixels that a line of text takes."""
    return -(-sum(_WIDTHS.get(character, _WIDEST) for character in text) // 10)


_SHAPES = {
    Tone.GOOD: '<path d="M1.5 5.5 4.5 8.5 9.5 2" fill="none" stroke="#fff" stroke-width="2"/>',
    Tone.BAD: '<path d="M2 2 9 9M9 2 2 9" fill="none" stroke="#fff" stroke-width="2"/>',
    Tone.OPEN: (
        '<circle cx="5.5" cy="5.5" r="4.2" fill="none" stroke="#fff" stroke-width="1.4"/>'
        '<path d="M5.5 5.5V1.3A4.2 4.2 0 0 1 9.7 5.5Z" fill="#fff"/>'
    ),
    Tone.UNKNOWN: (
        '<circle cx="5.5" cy="5.5" r="4.2" fill="none" stroke="#fff" stroke-width="1.4" stroke-dasharray="2"/>'
    ),
}


def badge_svg(badge: Badge) -> str:
    """A whole SVG document, 20 pixels high, valid XML whatever the badge says."""
    label, message = xml_text(badge.label), xml_text(badge.message)
    label_width, message_width = text_width(label), text_width(message)
    left = label_width + 2 * _PAD
    width = left + _PAD + _SHAPE + message_width + _PAD
    said = xml_text(badge.sentence)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" '
        f'viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label={quoteattr(said)}>'
        f"<title>{escape(said)}</title>"
        f'<rect width="{width}" height="{_HEIGHT}" rx="3" fill="#{badge.tone.colour}"/>'
        f'<path d="M3 0H{left}V{_HEIGHT}H3A3 3 0 0 1 0 {_HEIGHT - 3}V3A3 3 0 0 1 3 0Z" fill="#{_LABEL_COLOUR}"/>'
        f'<g transform="translate({left + _PAD} 4.5)">{_SHAPES[badge.tone]}</g>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" aria-hidden="true">'
        f"{_text(label, _PAD, label_width)}{_text(message, left + _PAD + _SHAPE, message_width)}"
        "</g></svg>\n"
    )


def _text(text: str, left: int, width: int) -> str:
    return (
        f'<text x="{left}" y="14" textLength="{width}" lengthAdjust="spacingAndGlyphs" xml:space="preserve">'
        f"{escape(text)}</text>"
    )
