"""Sends one webhook, to a checked address and within one deadline (``attestations.pinned_http``)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from attestations.domain.internet import InternetAddress
from attestations.domain.webhook_address import RULES
from attestations.domain.webhook_errors import (
    WebhookNotHttp,
    WebhookTooSlow,
    WebhookUnknownHost,
    WebhookUnreachable,
)
from attestations.pinned_http import FailureNames, PinnedHttp, Resolve, beginning, resolve
from builds.domain.printable import one_line

TOTAL_SECONDS = 10.0
MOST_CHARACTERS = 1000
_MOST_BYTES = 4 * MOST_CHARACTERS  # of UTF-8
_NAMES = FailureNames(WebhookUnknownHost, WebhookUnreachable, WebhookTooSlow, WebhookNotHttp)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, and the first ``MOST_CHARACTERS`` of what was answered, in one line."""

    status: int
    text: str


class WebhookSender:
    """Posts to receivers; safe between threads."""

    def __init__(
        self,
        resolver: Resolve = resolve,
        certificates: ssl.SSLContext | None = None,
        seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._http = PinnedHttp(RULES, _NAMES, resolver, certificates)
        self._seconds = seconds

    def post(self, address: InternetAddress, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the receiver answered within the time, redirects as they are.

        Raises ``WebhookPrivateAddress`` or a ``WebhookFailure``. The status has said whether the message arrived: an
        answer's body that stops half way is no failure.
        """
        told = {"Accept-Encoding": "identity", "User-Agent": "tee-portal-webhooks", **headers}
        with self._http.exchange("POST", address, told, body=body, seconds=self._seconds) as response:
            first, broke_off = beginning(response, _MOST_BYTES)
            text = first.decode("utf-8", "replace") + (" [the answer broke off]" if broke_off else "")
            return Answer(response.status, one_line(text, MOST_CHARACTERS))
