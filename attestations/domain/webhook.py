"""GitHub's webhooks: whether the shared secret signed a delivery, and which repository it is about.

Source: GitHub's "Validating webhook deliveries" and "Webhook events and payloads". A delivery is a hint to look;
what it says about a release is never believed.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from attestations.domain.github_errors import BadWebhookSignature, MalformedDelivery
from attestations.domain.repository import Repository
from builds.domain.errors import MalformedInput
from builds.domain.strict_json import AmbiguousJson, read_json

SIGNATURE_HEADER = "X-Hub-Signature-256"
EVENT_HEADER = "X-GitHub-Event"
EVENTS = frozenset({"create", "push", "release"})
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)


def verify_signature(secret: bytes, body: bytes, header: str | None) -> None:
    """Return when ``header`` is ``sha256=`` and the HMAC-SHA256 of ``body`` under ``secret``.

    Raises ``BadWebhookSignature`` otherwise, also for an absent header and an empty secret, with which anybody could
    sign. ``body`` is the bytes as they came.
    """
    if not secret:
        raise BadWebhookSignature("the portal has no webhook secret", where=SIGNATURE_HEADER)
    if not header:
        raise BadWebhookSignature("the delivery is not signed", where=SIGNATURE_HEADER)
    given = _SIGNATURE.fullmatch(header)
    if given is None:
        raise BadWebhookSignature("the signature is not of the form sha256=<hex>", where=SIGNATURE_HEADER)
    expected = hmac.digest(secret, body, hashlib.sha256).hex()
    if not hmac.compare_digest(expected, given[1]):
        raise BadWebhookSignature("the signature is not the shared secret's", where=SIGNATURE_HEADER)


def parse_delivery(event: str, body: bytes) -> Repository | None:
    """The repository that a ``release``, ``create`` or ``push`` names; None for ``ping`` and every other event.

    ``event`` is the header ``X-GitHub-Event``. Raises ``MalformedDelivery``.
    """
    if event not in EVENTS:
        return None
    try:
        payload = read_json(body)
    except AmbiguousJson as error:
        raise MalformedDelivery(f"the delivery cannot be read: {error}", where=event) from error
    repository = payload.get("repository") if isinstance(payload, dict) else None
    name = repository.get("full_name") if isinstance(repository, dict) else None
    if not isinstance(name, str):
        raise MalformedDelivery("the delivery names no repository", where=event)
    try:
        return Repository.parse(name)
    except MalformedInput as error:
        raise MalformedDelivery(error.what, where=event) from error
