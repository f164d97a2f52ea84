"""How the state of a delivery is shown: as word, shape and colour."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from attestations.domain.delivery import DeliveryState
from attestations.models import Webhook
from builds.templatetags.portal import state

register = template.Library()

_TONES = {
    DeliveryState.PENDING: "open",
    DeliveryState.DELIVERED: "good",
    DeliveryState.FAILED: "bad",
    DeliveryState.GIVEN_UP: "bad",
}


@register.simple_tag
def delivery_state(value: str) -> SafeString:
    return state(value, _TONES[DeliveryState(value)])


@register.simple_tag
def webhook_state(webhook: Webhook) -> SafeString:
    """Whether anything is sent to it; an end that its owner did not ask for is an alarm."""
    if webhook.disabled_because is None:
        return state("on", "good")
    wanted = webhook.disabled_because["code"] == "webhook-switched-off"
    return state("switched off" if wanted else "stopped", "plain" if wanted else "bad")


@register.filter
def as_seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None
