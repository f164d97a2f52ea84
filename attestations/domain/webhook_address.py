"""Where webhooks may be sent: to https on the public internet, and nowhere that only this machine can reach."""

from __future__ import annotations

from attestations.domain.internet import AddressRules, InternetAddress
from attestations.domain.webhook_errors import (
    WebhookAddressRefused,
    WebhookAddressWithCredentials,
    WebhookNotHttps,
    WebhookOddPort,
    WebhookPrivateAddress,
)

MAX_ADDRESS_CHARACTERS = 500
RULES = AddressRules(
    longest=MAX_ADDRESS_CHARACTERS,
    ports=frozenset({443, 8443}),
    malformed=WebhookAddressRefused,
    credentials=WebhookAddressWithCredentials,
    not_https=WebhookNotHttps,
    odd_port=WebhookOddPort,
    private=WebhookPrivateAddress,
)


def parse_address(text: str, exempt: frozenset[str] = frozenset()) -> InternetAddress:
    """The address in ``text``, or a named ``WebhookAddressRefused`` (``AddressRules.parse``)."""
    return RULES.parse(text, exempt)
