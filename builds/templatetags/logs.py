"""The lines of a log as HTML: not by a template, because a page has hundreds of them and is asked for often."""

from __future__ import annotations

from collections.abc import Iterable

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from builds.domain.log_page import ShownLine

register = template.Library()


@register.simple_tag
def log_lines(lines: Iterable[ShownLine], address: str, marked: int | None = None) -> SafeString:
    """Each line with its number, which links to the line at ``address``, the page of the whole log."""
    page = escape(address)
    return mark_safe("".join(_line(line, page, is_marked=line.number == marked) for line in lines))  # noqa: S308 - escaped


def _line(line: ShownLine, page: str, *, is_marked: bool) -> str:
    number = line.number
    hidden = f" <em>[{line.hidden} more characters stand in the plain text]</em>" if line.hidden else ""
    # Not in the order of the keyboard: hundreds of stops, and the page has a field for the number.
    link = f'<a href="{page}?line={number}#L{number}" tabindex="-1">{number}</a>'
    tone = "line marked" if is_marked else "line"
    return f'<span class="{tone}" id="L{number}">{link}{escape(line.text)}{hidden}\n</span>'
