"""Keys that rebuilders sign with: made, kept in a file, and used; ECDSA on P-256 or Ed25519.

The one module below the pages that signs. Files are PKCS #8 PEM (RFC 5958), public keys SubjectPublicKeyInfo PEM.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from builds.domain.dsse import Envelope, pae
from builds.domain.errors import MalformedInput, PortalError

MAX_KEY_BYTES = 16 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyAlgorithm(StrEnum):
    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"


class UnusableKey(MalformedInput):
    """A key file that cannot be read, is of another kind, or that others may read."""

    code: ClassVar[str] = "unusable-key"
    default_todo: ClassVar[str] = "Make one with: tee-portal-rebuilder keygen FILE"


class KeyExists(UnusableKey):
    """There is a file where a new key was to be written."""

    code: ClassVar[str] = "key-exists"
    default_todo: ClassVar[str] = "Keys are never overwritten: name another file, or move this one away."


class SignatureMismatch(PortalError):
    """The signature is not by this key over these bytes."""

    code: ClassVar[str] = "signature-mismatch"
    default_todo: ClassVar[str] = "Send the signed file byte for byte, or sign anew with the enrolled key."


def digest_name(sha256: str) -> str:
    """What has this SHA-256 (hex), as a name (RFC 6920)."""
    return f"ni:///sha-256;{base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, by its DER SubjectPublicKeyInfo."""

    der: bytes
    algorithm: KeyAlgorithm

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, in hex: the key's name everywhere."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def name(self) -> str:
        """The key by its own digest: who signs is who the name says, wherever it is looked up."""
        return digest_name(self.fingerprint)

    @property
    def hint(self) -> str:
        """The fingerprint as Sigstore bundles give it: base64."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    @property
    def pem(self) -> str:
        body = base64.encodebytes(self.der).decode().replace("\n", "")
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])

    def verify(self, envelope: Envelope) -> None:
        """Return for a signature by this key; ``SignatureMismatch`` for any other."""
        key = serialization.load_der_public_key(self.der)
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(envelope.signature, envelope.pae, ec.ECDSA(SHA256()))
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(envelope.signature, envelope.pae)
        except InvalidSignature as error:
            raise SignatureMismatch("the signature is not by this key over this payload", where="signature") from error


class Signer(Protocol):
    """Whatever can sign: a key file, or a key that never leaves its device."""

    @property
    def public(self) -> VerifyingKey: ...

    def sign(self, payload_type: str, payload: bytes) -> Envelope: ...


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A private key read from a file; never shown, logged or sent."""

    _key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"FileSigner({self.public.fingerprint})"

    @property
    def public(self) -> VerifyingKey:
        return _verifying(self._key.public_key(), "key file")

    def sign(self, payload_type: str, payload: bytes) -> Envelope:
        covered = pae(payload_type, payload)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return Envelope(payload_type, payload, self._key.sign(covered, ec.ECDSA(SHA256())))
        return Envelope(payload_type, payload, self._key.sign(covered))


def generate(path: Path, algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256) -> FileSigner:
    """Write a new private key to a file that only its owner can read; ``UnusableKey`` when one is there.

    The file appears whole or not at all, so that two processes that make one end with the same key.
    """
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm is KeyAlgorithm.ECDSA_P256
        else ed25519.Ed25519PrivateKey.generate()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        # Made with mode 0600 beside its place, then linked there: a link never replaces a file.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".key-") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
            path.hardlink_to(file.name)
    except FileExistsError as error:
        raise KeyExists("there is a file already", where=str(path)) from error
    except OSError as error:
        raise UnusableKey(f"cannot be written: {error.strerror}", where=str(path)) from error
    return FileSigner(key)


def keep_signer(path: Path) -> FileSigner:
    """The key in this file, made there when there is none; whoever comes second uses what the first made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        with suppress(KeyExists):
            return generate(path)
    return read_signer(path)


def read_signer(path: Path) -> FileSigner:
    """Read a private key; ``UnusableKey`` unless it is of a known kind and nobody else may read it."""
    where = str(path)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise UnusableKey("others may read this private key", where=where, todo=f"chmod 600 {path}")
            data = file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise UnusableKey(f"cannot be read: {error.strerror}", where=where) from error
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKey("is no unencrypted private key in PEM", where=where) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise UnusableKey("is neither an ECDSA nor an Ed25519 key", where=where)
    _verifying(key.public_key(), where)
    return FileSigner(key)


def read_public_key(pem: str, *, where: str = "public key") -> VerifyingKey:
    """Read a PEM public key; ``UnusableKey`` for anything but ECDSA on P-256 and Ed25519."""
    try:
        # What is no ASCII is no PEM; UnicodeEncodeError is a ValueError.
        key = serialization.load_pem_public_key(pem.encode("ascii")[:MAX_KEY_BYTES])
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "is a private key" if "PRIVATE KEY-----" in pem else "is no public key in PEM"
        raise UnusableKey(what, where=where) from error
    if pem.count("-----BEGIN ") > 1:
        raise UnusableKey("holds more than one key, and nothing says which is meant", where=where)
    return _verifying(key, where)


def _verifying(key: object, where: str) -> VerifyingKey:
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            algorithm = KeyAlgorithm.ECDSA_P256
        case ed25519.Ed25519PublicKey():
            algorithm = KeyAlgorithm.ED25519
        case _:
            raise UnusableKey("is neither an ECDSA key on P-256 nor an Ed25519 key", where=where)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return VerifyingKey(der, algorithm)
