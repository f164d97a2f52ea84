"""A timestamp authority (RFC 3161) that answers over SHA-256, with ECDSA P-256 signed tokens (RFC 5652, 5816)."""

from __future__ import annotations

import hashlib
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

_SEQUENCE, _SET, _INTEGER, _OCTETS, _OID, _TIME = 0x30, 0x31, 0x02, 0x04, 0x06, 0x18
_CONTEXT_0 = 0xA0
_LONG_FORM = 0x80

# Object identifiers by their DER content (RFC 5652, RFC 3161, RFC 5035, RFC 5758, FIPS 180-4 in NIST's arc).
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_TST_INFO = bytes.fromhex("2a864886f70d0109100104")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_SIGNING_CERTIFICATE_V2 = bytes.fromhex("2a864886f70d010910022f")
_SHA256 = bytes.fromhex("608648016503040201")
_ECDSA_SHA256 = bytes.fromhex("2a8648ce3d040302")
_POLICY = bytes.fromhex("2b0601040183bf300201")


def der(tag: int, *parts: bytes) -> bytes:
    """One DER value: tag, definite length, content (X.690, 8.1 and 10.1)."""
    content = b"".join(parts)
    length = len(content)
    if length < _LONG_FORM:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG_FORM | len(octets)]) + octets + content


def _integer(value: int) -> bytes:
    return der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(content: bytes) -> bytes:
    return der(_OID, content)


def timestamp_response(
    message: bytes, at: datetime, serial: int, certificate: Certificate, key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A granted TimeStampResp over ``message`` for the second ``at`` (UTC)."""
    sha256 = der(_SEQUENCE, _oid(_SHA256))
    imprint = der(_SEQUENCE, sha256, der(_OCTETS, hashlib.sha256(message).digest()))
    stamp = der(_TIME, at.strftime("%Y%m%d%H%M%SZ").encode())
    info = der(_SEQUENCE, _integer(1), _oid(_POLICY), imprint, _integer(serial), stamp)
    encapsulated = der(_SEQUENCE, _oid(_TST_INFO), der(_CONTEXT_0, der(_OCTETS, info)))
    encoded = certificate.public_bytes(Encoding.DER)
    signer = _signer_info(info, certificate, encoded, key, sha256)
    signed_data = der(
        _SEQUENCE, _integer(3), der(_SET, sha256), encapsulated, der(_CONTEXT_0, encoded), der(_SET, signer)
    )
    token = der(_SEQUENCE, _oid(_SIGNED_DATA), der(_CONTEXT_0, signed_data))
    return der(_SEQUENCE, der(_SEQUENCE, _integer(0)), token)


def _signer_info(
    info: bytes, certificate: Certificate, encoded: bytes, key: ec.EllipticCurvePrivateKey, sha256: bytes
) -> bytes:
    # DEFAULT values are left out in DER: the hash of ESSCertIDv2 is SHA-256 by default.
    identifier = der(_SEQUENCE, der(_OCTETS, hashlib.sha256(encoded).digest()))
    attributes = sorted(
        (
            _attribute(_CONTENT_TYPE, _oid(_TST_INFO)),
            _attribute(_MESSAGE_DIGEST, der(_OCTETS, hashlib.sha256(info).digest())),
            _attribute(_SIGNING_CERTIFICATE_V2, der(_SEQUENCE, der(_SEQUENCE, identifier))),
        )
    )
    signature = key.sign(der(_SET, *attributes), ec.ECDSA(SHA256()))
    return der(
        _SEQUENCE,
        _integer(1),
        der(_SEQUENCE, certificate.issuer.public_bytes(), _integer(certificate.serial_number)),
        sha256,
        der(_CONTEXT_0, *attributes),
        der(_SEQUENCE, _oid(_ECDSA_SHA256)),
        der(_OCTETS, signature),
    )


def _attribute(kind: bytes, value: bytes) -> bytes:
    return der(_SEQUENCE, _oid(kind), der(_SET, value))
