"""DSSE envelopes, and the Sigstore bundles that carry them, as bytes; signatures are checked elsewhere.

DSSE 1.0.2 (protocol.md, envelope.md); Sigstore bundle v0.3 with a public key's hint (sigstore_bundle.proto).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, ClassVar

from builds.domain.errors import MalformedInput
from builds.domain.printable import one_line
from builds.domain.strict_json import load_object

IN_TOTO_PAYLOAD = "application/vnd.in-toto+json"
BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_ENVELOPE_BYTES = 6 * 1024 * 1024
# Almost all of one is base64; a bundle has some dozens about its key and log.
_MAX_VALUES = 10_000

_ENVELOPE_MEMBERS = frozenset({"payload", "payloadType", "signatures"})


class MalformedEnvelope(MalformedInput):
    """Bytes that are no DSSE envelope with exactly one signature, and no Sigstore bundle of one."""

    code: ClassVar[str] = "malformed-envelope"
    default_todo: ClassVar[str] = "Send the file that the rebuilder wrote, byte for byte."


@dataclass(frozen=True, slots=True)
class Envelope:
    """One signed payload: the payload's own bytes, its type, and the one raw signature over ``pae``."""

    payload_type: str
    payload: bytes
    signature: bytes

    @property
    def pae(self) -> bytes:
        return pae(self.payload_type, self.payload)

    def as_json(self) -> dict[str, Any]:
        """The envelope's JSON form. Without a keyid: it is a hint that nobody may rely on."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"sig": base64.b64encode(self.signature).decode()}],
        }

    def as_bytes(self) -> bytes:
        return json.dumps(self.as_json()).encode()

    def as_bundle(self, hint: str) -> bytes:
        """A Sigstore bundle v0.3 whose verification material is a public key known by ``hint``; in no log."""
        bundle = {
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}},
            "dsseEnvelope": self.as_json(),
        }
        return json.dumps(bundle).encode()


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature covers."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def parse_envelope(data: bytes, *, where: str = "envelope") -> Envelope:
    """Read an envelope, or the one inside a Sigstore bundle; ``MalformedEnvelope`` for anything else.

    A second signature is refused rather than ignored: the two could be by different people.
    """
    return _envelope(_document(data, where), where)


def parse_rebuilders_envelope(data: bytes, *, where: str = "envelope") -> Envelope:
    """As ``parse_envelope``; ``MalformedEnvelope`` also for a Sigstore bundle signed with more than a plain key.

    Rebuilders sign with keys that are known. A certificate or a log's entry is how publishers' workflows sign, and
    such a bundle is nobody's rebuild, whatever its payload says.
    """
    document = _document(data, where)
    envelope = _envelope(document, where)
    _refuse_certificates(document, where)
    return envelope


def _document(data: bytes, where: str) -> dict[str, Any]:
    return load_object(
        data, max_bytes=MAX_ENVELOPE_BYTES, where=where, error_type=MalformedEnvelope, max_values=_MAX_VALUES
    )


def _envelope(document: dict[str, Any], where: str) -> Envelope:
    if "dsseEnvelope" in document:
        inner = document["dsseEnvelope"]
        if not isinstance(inner, dict):
            raise MalformedEnvelope("the bundle holds no envelope", where=where)
        document = inner
    if set(document) != _ENVELOPE_MEMBERS:
        raise MalformedEnvelope("an envelope has payload, payloadType and signatures, and nothing else", where=where)
    payload_type, signatures = document["payloadType"], document["signatures"]
    if not isinstance(payload_type, str) or not payload_type.isprintable():
        raise MalformedEnvelope("the payloadType is no text", where=where)
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise MalformedEnvelope("the envelope does not hold exactly one signature", where=where)
    signature = _decoded(signatures[0].get("sig"), "signature", where)
    if not signature:
        raise MalformedEnvelope("the signature is empty: nobody signed this", where=where)
    return Envelope(payload_type, _decoded(document["payload"], "payload", where), signature)


def _refuse_certificates(document: dict[str, Any], where: str) -> None:
    material = document.get("verificationMaterial", {})
    if not isinstance(material, dict):
        raise MalformedEnvelope("the verification material is no object", where=where)
    more = sorted(name for name, value in material.items() if name != "publicKey" and value)
    if more:
        what = f"a rebuilder signs with a plain key, and this bundle has {one_line(', '.join(more), 200)}"
        raise MalformedEnvelope(what, where=where)


def _decoded(text: object, name: str, where: str) -> bytes:
    if not isinstance(text, str):
        raise MalformedEnvelope(f"the {name} is no base64 text", where=where)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # also of characters that are no ASCII, which is no binascii.Error
        raise MalformedEnvelope(f"the {name} is no base64", where=where) from error
