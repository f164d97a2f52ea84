"""Template tags for how a page is shown where its address is shared."""

from __future__ import annotations

from typing import Any

from django import template

from builds.public_address import public_base

register = template.Library()


@register.simple_tag(takes_context=True)
def public_address(context: dict[str, Any], path: str) -> str:
    """The whole address of a page of this portal."""
    return f"{public_base(context['request'])}{path}"
