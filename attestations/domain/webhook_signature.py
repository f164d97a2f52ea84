"""How webhooks are signed: the Standard Webhooks specification, symmetric signatures.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

ID_HEADER = "webhook-id"
TIME_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
SECRET_BYTES = 32
_PREFIX = "whsec_"


def shown_secret(secret: bytes) -> str:
    """``whsec_`` and the secret in base64, as receivers' libraries take it."""
    return f"{_PREFIX}{base64.b64encode(secret).decode()}"


def signed_headers(message_id: str, moment: int, body: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """The three headers; ``moment`` is the attempt's, in seconds since 1970, and each secret gives a signature."""
    signed = f"{message_id}.{moment}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        ID_HEADER: message_id,
        TIME_HEADER: str(moment),
        SIGNATURE_HEADER: " ".join(f"v1,{signature}" for signature in signatures),
    }
