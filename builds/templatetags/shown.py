"""Template tags for what pages show everywhere: digests, moments, sizes, and text from strangers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds.domain.digest import apart_from
from builds.domain.printable import one_line

register = template.Library()

_NONE = "\N{EN DASH}"
_LONG_TEXT = 300
_MOST_TEXT = 20_000
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@register.simple_tag
def digest(value: object) -> SafeString:
    """A digest or measurement, whole, with a button that copies it (shown where script can)."""
    return format_html(
        '<span class="digest">{0}</span> '
        '<button type="button" class="copy" data-copy="{0}" aria-label="Copy {0}" hidden>copy</button>',
        value,
    )


@register.simple_tag
def digest_against(value: object, other: object) -> SafeString:
    """As ``digest``, with the first character marked in which it differs from ``other``."""
    same, first, rest = apart_from(str(value), str(other or ""))
    if not first or other is None:
        return digest(value)
    return format_html(
        '<span class="digest">{0}<mark title="the first character that differs">{1}</mark>{2}</span> '
        '<button type="button" class="copy" data-copy="{3}" aria-label="Copy {3}" hidden>copy</button>',
        same,
        first,
        rest,
        value,
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
