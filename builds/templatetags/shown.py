"""Template tags for what pages show everywhere: digests, moments, sizes, and text from strangers."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from django import template
from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from builds.domain.digest_difference import difference_of
from builds.domain.printable import in_brief, one_line
from builds.templatetags.portal import state

register = template.Library()

_NONE = "\N{EN DASH}"
_LONG_TEXT = 300
_MOST_TEXT = 20_000
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@register.simple_tag
def notice() -> SafeString:
    """What the operator of the portal has every page say first; nothing where that is nothing."""
    said: str = settings.ENVIRONMENT.notice
    return format_html('<p class="panel open" role="note">{}</p>', said) if said else SafeString("")


@register.simple_tag
def digest(value: object) -> SafeString:
    """A digest or measurement, whole, with a button that copies it (shown where script can)."""
    return format_html('<span class="digest">{0}</span> {1}', value, _copy_button(value))


@register.simple_tag
def digest_against(value: object | None, other: object | None) -> SafeString:
    """As ``digest``, with the first character marked in which its hex differs from the other's; None is unknown."""
    if value is None:
        return state("unknown", "open")
    text, against = str(value), "" if other is None else str(other)
    found = difference_of(_hex(text), _hex(against)) if against else None
    if found is None or not found.one.mark:
        return digest(text)
    return format_html(
        '<span class="digest">{}{}<mark title="the first character that differs">{}</mark>{}</span> {}',
        text.removesuffix(_hex(text)),
        found.one.common,
        found.one.mark,
        found.one.rest,
        _copy_button(text),
    )


@register.simple_tag
def beside(*named: object) -> SafeString:
    """Digests under each other, given as name, digest, name, digest; one that is not known is left out.

    Each is whole and can be copied. Where one is another than the first, the first differing character of both is
    marked, and told in words.
    """
    known = [(str(name), str(value)) for name, value in itertools.batched(named, 2, strict=True) if value]
    if not known:
        return SafeString("")
    first = known[0][1]
    unlike = next((value for _, value in known if _hex(value) != _hex(first)), first)
    rows = [(name, digest_against(value, first if place else unlike)) for place, (name, value) in enumerate(known)]
    found = [(name, difference_of(_hex(first), _hex(value))) for name, value in known]
    words = [f"{name} {difference.words}" for name, difference in found if difference is not None]
    said = format_html('<p class="quiet">The {}.</p>', "; the ".join(words)) if words else ""
    return format_html('<dl class="beside">{}</dl>{}', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows), said)


def _hex(text: str) -> str:
    return text.rpartition(":")[2]


def _copy_button(text: object) -> SafeString:
    return format_html(
        '<button type="button" class="copy" data-copy="{0}" aria-label="Copy {0}" hidden>copy</button>', text
    )


@register.simple_tag
def moment(value: datetime | None, missing: str = _NONE) -> SafeString:
    """A moment in UTC, which script turns into the reader's zone; UTC stays in the title."""
    if value is None:
        return format_html("{}", missing)
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC" data-local>{} UTC</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S"),
        utc.strftime("%Y-%m-%d %H:%M"),
    )


@register.simple_tag
def foreign(text: object) -> SafeString:
    """Text that a stranger chose: nothing is hidden in it, its direction stays its own, a long one scrolls in a box."""
    whole = one_line(str(text), _MOST_TEXT)
    if len(whole) > _LONG_TEXT:
        return format_html(
            '<bdi class="foreign long" tabindex="0" role="group" aria-label="Long text, {} characters">{}</bdi>',
            len(str(text)),
            whole,
        )
    return format_html('<bdi class="foreign">{}</bdi>', whole)


@register.simple_tag
def told(sentence: str) -> SafeString:
    """A sentence of the portal's own that quotes strangers' names: nothing in it is hidden or turns the writing."""
    return format_html('<span class="foreign">{}</span>', one_line(sentence, _MOST_TEXT))


@register.filter
def brief(text: object, limit: int = 300) -> str:
    """A text of any origin as one line of at most ``limit`` characters, where the whole of it stands elsewhere."""
    return in_brief(str(text), limit)


@register.filter
def size(count: int | None) -> str:
    """A number of bytes with the unit in which it is read best; "unknown" for None."""
    if count is None:
        return "unknown"
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - IEC 80000-13
        amount, unit = amount / 1024, unit + 1
    return f"{count} byte{'' if count == 1 else 's'}" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


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


@register.filter
def duration(span: timedelta | float | None) -> str:
    """A span of time in at most two units; a dash for None."""
    if span is None:
        return _NONE
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if 0 < seconds < 0.1:  # noqa: PLR2004 - a tenth is the smallest that is told, and this is not nothing
        return "under 0.1 s"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


@register.filter
def hexadecimal(number: int) -> str:
    """A number as hardware manuals write it."""
    return f"{number:#x}"
