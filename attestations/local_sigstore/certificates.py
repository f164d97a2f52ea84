"""The certificates of a local trust domain: authorities, and leaves with Fulcio's extensions and an embedded SCT."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestations.domain.identity import EXTENSIONS, FIRST_DER_EXTENSION, FULCIO_ARC
from attestations.local_sigstore.timestamps import der

_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_LEAF_LIFETIME = timedelta(minutes=10)
_UTF8_STRING, _OCTETS = 0x0C, 0x04


@dataclass(frozen=True)
class Authority:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority(
    name: str, span: tuple[datetime, datetime], issuer: Authority | None = None, *, stamps: bool = False
) -> Authority:
    """A root (without issuer), an intermediate, or, with ``stamps``, a timestamping certificate."""
    # Fulcio's authorities have P-384 keys, and so have these: what is measured with them is what it costs.
    key = ec.generate_private_key(ec.SECP256R1() if stamps else ec.SECP384R1())
    subject = _name(name)
    signing_key = issuer.key if issuer is not None else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(span[0])
        .not_valid_after(span[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        .add_extension(_key_usage(signs_certificates=not stamps), critical=True)
    )
    if stamps:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    else:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(builder.sign(signing_key, SHA384()), key)


def leaf(
    issuer: Authority,
    ct_key: ec.EllipticCurvePrivateKey | None,
    *,
    public_key: ec.EllipticCurvePublicKey,
    san: str,
    claims: Mapping[str, str],
    at: datetime,
) -> x509.Certificate:
    """A signing certificate of ten minutes; with a CT key it embeds the precertificate's SCT (RFC 6962, 3.3)."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at)
        .not_valid_after(at + _LEAF_LIFETIME)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(san)]), critical=True)
    )
    for number, name in EXTENSIONS.items():
        if name in claims:
            raw = claims[name].encode()
            value = raw if number < FIRST_DER_EXTENSION else der(_UTF8_STRING, raw)
            oid = x509.ObjectIdentifier(f"{FULCIO_ARC}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    if ct_key is not None:
        precertificate = builder.sign(issuer.key, SHA384()).tbs_certificate_bytes
        issuer_id = hashlib.sha256(_public_der(issuer.key)).digest()
        scts = der(_OCTETS, _sct_list(ct_key, issuer_id, precertificate, at))
        builder = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, scts), critical=False)
    return builder.sign(issuer.key, SHA384())


def _sct_list(ct_key: ec.EllipticCurvePrivateKey, issuer_id: bytes, precertificate: bytes, at: datetime) -> bytes:
    """A list of one version 1 SCT, ECDSA with SHA-256 (RFC 6962, 3.2 and 3.3)."""
    milliseconds = int(at.timestamp()) * 1000
    length = len(precertificate).to_bytes(3, "big")
    signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + issuer_id + length + precertificate + b"\x00\x00"
    signature = ct_key.sign(signed, ec.ECDSA(SHA256()))
    log_id = hashlib.sha256(_public_der(ct_key)).digest()
    sct = b"\x00" + log_id + struct.pack("!QHBBH", milliseconds, 0, 4, 3, len(signature)) + signature
    return struct.pack("!HH", len(sct) + 2, len(sct)) + sct


def _public_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "local trust domain"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
