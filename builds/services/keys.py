"""Which enrolled key signed something, and whether it may sign now."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import ClassVar

from django.utils import timezone

from builds.domain.dsse import Envelope
from builds.domain.errors import PortalError
from builds.domain.printable import one_line
from builds.domain.strict_json import AmbiguousJson, read_json
from builds.models import RebuilderKey
from builds.pipeline.signing import digest_name, read_public_key

_NAME_PREFIX = "ni:///sha-256;"


class UnknownKey(PortalError):
    """No enrolled key has the name that the signed bytes give."""

    code: ClassVar[str] = "unknown-key"
    default_todo: ClassVar[str] = "Enrol the key that signed, or rebuild with one that is enrolled: --key FILE"


class KeyExpired(PortalError):
    """The key's period is over, or has not begun."""

    code: ClassVar[str] = "key-expired"
    default_todo: ClassVar[str] = "Enrol a new key, vouched for by another of the same operator."


class KeyRevoked(PortalError):
    """The key was revoked."""

    code: ClassVar[str] = "key-revoked"
    default_todo: ClassVar[str] = "Enrol a new key; an administrator must accept it."


class KeyPending(PortalError):
    """The key or its operator is not accepted yet."""

    code: ClassVar[str] = "key-pending"
    default_todo: ClassVar[str] = "Wait for an administrator; until then: rebuild TAG --key FILE, then submit."


def signing_key(envelope: Envelope) -> RebuilderKey:
    """The enrolled key that made this envelope's signature, in its period and not revoked.

    A pending key is returned too: what it signs is kept and does not count. Raises ``UnknownKey``,
    ``SignatureMismatch``, ``KeyExpired`` and ``KeyRevoked``.
    """
    name = _name_in(envelope.payload)
    key = key_named(name)
    if key is None:
        said = f": {one_line(name, 80)}" if isinstance(name, str) else ""
        raise UnknownKey(f"the signed bytes name no key that is enrolled here{said}", where="signer")
    read_public_key(key.pem).verify(envelope)
    check_period(key, timezone.now())
    return key


def require_accepted(key: RebuilderKey) -> None:
    """Return for a key that an administrator or an older key vouches for; ``KeyPending`` otherwise."""
    if key.accepted_at is None or key.rebuilder.operator.accepted_at is None:
        raise KeyPending("the key is pending", where=str(key))


def check_period(key: RebuilderKey, now: datetime) -> None:
    """Return for a key that may sign now; ``KeyRevoked`` or ``KeyExpired`` otherwise."""
    if key.revoked_at is not None and key.revoked_at <= now:
        raise KeyRevoked(
            f"the key was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC: {key.revocation_reason}", where=str(key)
        )
    if key.not_before > now or (key.not_after is not None and key.not_after <= now):
        until = f" to {key.not_after:%Y-%m-%d %H:%M}" if key.not_after is not None else ""
        raise KeyExpired(f"the key may sign from {key.not_before:%Y-%m-%d %H:%M}{until} UTC", where=str(key))


def key_named(name: object) -> RebuilderKey | None:
    """The enrolled key of this name; only a pointer, which a signature then confirms or refutes."""
    return RebuilderKey.objects.select_related("rebuilder__operator").filter(fingerprint=_fingerprint(name)).first()


def _name_in(payload: bytes) -> object:
    """The key's name in a request, or the builder's id in a statement."""
    try:
        document = read_json(payload)
        if isinstance(document, dict) and "key" in document:
            return document["key"]
        place: object = document
        for step in ("predicate", "runDetails", "builder", "id"):
            place = place.get(step) if isinstance(place, dict) else None
    except AmbiguousJson:
        return None
    return place


def _fingerprint(name: object) -> str:
    """The hex of a key's name; "" for what is none, or is spelled otherwise."""
    if not isinstance(name, str) or not name.startswith(_NAME_PREFIX):
        return ""
    try:
        found = base64.urlsafe_b64decode(name.removeprefix(_NAME_PREFIX) + "=").hex()
    except ValueError:
        return ""
    # One key has one name: base64 has several spellings of the same bytes.
    return found if name_of(found) == name else ""


def name_of(fingerprint: str) -> str:
    """A key's name (RFC 6920) from its fingerprint in hex."""
    return digest_name(fingerprint)
