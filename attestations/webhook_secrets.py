"""Secrets of webhooks as they are stored.

A signature is made anew for every delivery, so the secret itself must be had again: its digest, which would do for
passwords, cannot sign. It is sealed with a key made of the portal's own (``TEE_PORTAL_SECRET_KEY``), so that whoever
gets a copy of the database alone cannot speak for the portal.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from attestations.domain.webhook_errors import WebhookSecretUnreadable

_PURPOSE = b"tee-portal webhook secrets v1"


class SecretBox:
    """Seals and opens secrets with a key derived from the portal's (HKDF-SHA256, Fernet)."""

    def __init__(self, portal_secret: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(portal_secret.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        """The secret again, or ``WebhookSecretUnreadable`` when another key sealed it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise WebhookSecretUnreadable("the portal's secret key changed since", where="webhook secret") from error
