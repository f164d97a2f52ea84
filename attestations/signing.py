"""The portal's own key: a file, or one that never leaves its KMS or hardware module; the adapter of securesystemslib.

A reference is a path, or an address of a key as securesystemslib spells it; docs/predicates/verification-summary.md
lists them. The private key, and the PIN of a module, reach no log, no representation and no error.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import ClassVar, Final

from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import SecretStr
from securesystemslib.exceptions import Error, UnsupportedLibraryError
from securesystemslib.signer import Signer as EngineClient
from securesystemslib.signer import SSlibKey

from builds.domain.dsse import Envelope, pae
from builds.domain.errors import PortalError
from builds.pipeline.signing import (
    MAX_KEY_BYTES,
    FileSigner,
    KeyAlgorithm,
    SignatureMismatch,
    Signer,
    UnusableKey,
    VerifyingKey,
    keep_signer,
    read_public_key,
    read_signer,
)

_WHERE: Final = "signing key"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# A login to a hardware module is the process's, not the session's: two threads would log each other out.
_ONE_AT_A_TIME = Lock()


class UnusableSigningKey(PortalError):
    """The portal's key cannot be read, may be read by others, or is not the one its public key says."""

    code: ClassVar[str] = "unusable-signing-key"
    default_todo: ClassVar[str] = (
        "Set TEE_PORTAL_SIGNING_KEY to a key file of mode 0600 or a key's address, or unset it to have one made."
    )


class SigningLibraryMissing(PortalError):
    """The key is in an engine for which no library is installed."""

    code: ClassVar[str] = "signing-library-missing"
    default_todo: ClassVar[str] = "Install the extra of securesystemslib for this kind of key."


class SigningFailed(PortalError):
    """The engine that holds the key did not sign, or signed with another key. Nothing was signed."""

    code: ClassVar[str] = "signing-failed"
    default_todo: ClassVar[str] = (
        "Check that the engine answers, and that this portal may sign with the key; try again."
    )


@dataclass(frozen=True, slots=True)
class _Engine:
    """A kind of engine: its extra of securesystemslib, the errors of its library, and the algorithm it is used with."""

    extra: str
    errors: tuple[str, ...]
    algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256

    def error_types(self, scheme: str) -> tuple[type[Exception], ...]:
        """What the engine's library raises; importing it tells whether it is there."""
        try:
            places = [name.rpartition(".") for name in self.errors]
            return tuple(getattr(importlib.import_module(module), name) for module, _, name in places)
        except ImportError as error:
            raise self.missing(scheme) from error

    def missing(self, scheme: str) -> SigningLibraryMissing:
        return SigningLibraryMissing(
            f"keys of {scheme}: need a library that is not installed",
            where=_WHERE,
            todo=f"Install it beside the portal: pip install 'securesystemslib[{self.extra}]'",
        )


_ENGINES: Mapping[str, _Engine] = {
    "awskms": _Engine("awskms", ("botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError")),
    "azurekms": _Engine("azurekms", ("azure.core.exceptions.AzureError",)),
    "gcpkms": _Engine(
        "gcpkms", ("google.api_core.exceptions.GoogleAPIError", "google.auth.exceptions.GoogleAuthError")
    ),
    "hsm": _Engine("hsm", ("pkcs11.exceptions.PKCS11Error",)),
    "hv": _Engine("vault", ("hvac.exceptions.VaultError",), KeyAlgorithm.ED25519),
}


@dataclass(frozen=True, slots=True)
class EngineSigner:
    """A key inside an engine, known by its public part. Every signature is verified before it is given out."""

    public: VerifyingKey
    scheme: str
    _client: EngineClient = field(repr=False)

    def sign(self, payload_type: str, payload: bytes) -> Envelope:
        """Have the engine sign; ``SigningFailed`` when it does not, or when another key did."""
        with _named_errors(self.scheme), _ONE_AT_A_TIME:
            signature = bytes.fromhex(self._client.sign(pae(payload_type, payload)).signature)
        envelope = Envelope(payload_type, payload, signature)
        try:
            self.public.verify(envelope)
        except SignatureMismatch as error:
            raise SigningFailed(
                "what the engine signed does not hold under the configured public key",
                where=_WHERE,
                todo="Set TEE_PORTAL_SIGNING_PUBLIC_KEY to the public part of the key in TEE_PORTAL_SIGNING_KEY.",
            ) from error
        return envelope


def portal_signer(
    reference: str, public_key: Path | None = None, *, pin: SecretStr | None = None, generate: bool = False
) -> Signer:
    """The signer of a key file or of a key in an engine.

    ``public_key`` is a PEM file, which an engine's key needs and a key file is held against. ``generate`` makes the
    key file when there is none; of several processes that do, all use the first one's. Raises ``UnusableSigningKey``,
    ``SigningLibraryMissing`` or ``SigningFailed``.
    """
    if "-----BEGIN" in reference:
        raise UnusableSigningKey("the setting holds a key itself instead of its place", where="TEE_PORTAL_SIGNING_KEY")
    expected = _public(public_key) if public_key is not None else None
    address = _ADDRESS.match(reference)
    if address is not None:
        return _engine_signer(address[1], reference, expected, pin)
    signer = _file_signer(Path(reference), generate=generate)
    if expected is not None and signer.public != expected:
        raise UnusableSigningKey("this is not the private part of the configured public key", where=reference)
    return signer


def _file_signer(path: Path, *, generate: bool) -> FileSigner:
    try:
        return keep_signer(path) if generate else read_signer(path)
    except UnusableKey as error:
        # The rebuilder's advice is about its own command; a mode to correct is advice for anybody.
        todo = error.todo if error.todo != UnusableKey.default_todo else None
        raise UnusableSigningKey(error.what, where=error.where, todo=todo) from error
    except OSError as error:
        raise UnusableSigningKey(f"its directory cannot be made: {error.strerror}", where=str(path)) from error


def _public(path: Path) -> VerifyingKey:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return read_public_key(file.read(MAX_KEY_BYTES), where=str(path))
    except UnusableKey as error:
        raise UnusableSigningKey(
            error.what, where=error.where, todo="Give the engine's public key as PEM: ECDSA on P-256, or Ed25519."
        ) from error
    except OSError as error:
        raise UnusableSigningKey(f"the public key cannot be read: {error.strerror}", where=str(path)) from error


def _engine_signer(scheme: str, reference: str, public: VerifyingKey | None, pin: SecretStr | None) -> EngineSigner:
    engine = _ENGINES.get(scheme)
    if engine is None:
        known = ", ".join(f"{name}:" for name in _ENGINES)
        todo = f"Name a key of {known} or a file, by its path."
        raise UnusableSigningKey(f"no engine is known by {scheme}:", where=_WHERE, todo=todo)
    if public is None:
        todo = "Set TEE_PORTAL_SIGNING_PUBLIC_KEY to a file that holds it as PEM."
        raise UnusableSigningKey(
            f"a key of {scheme}: is known by its public key, and none is set", where=_WHERE, todo=todo
        )
    if public.algorithm is not engine.algorithm:
        raise UnusableSigningKey(
            f"a key of {scheme}: signs with {engine.algorithm}, and the public key is {public.algorithm}",
            where=_WHERE,
            todo=f"Make a key of that kind in the engine: {engine.algorithm}.",
        )

    def secret(name: str) -> str:
        if pin is None:
            todo = "Set TEE_PORTAL_SIGNING_PIN."
            raise UnusableSigningKey(f"the engine asks for a {name}, and none is set", where=_WHERE, todo=todo)
        return pin.get_secret_value()

    with _named_errors(scheme):
        key = SSlibKey.from_crypto(load_der_public_key(public.der))
        client = EngineClient.from_priv_key_uri(_spelled(reference), key, secret)
    return EngineSigner(public, scheme, client)


def _spelled(reference: str) -> str:
    """The address as securesystemslib has it, also from cosign's spelling of the same."""
    for theirs, ours in (("gcpkms://", "gcpkms:"), ("awskms:///", "awskms:")):
        if reference.startswith(theirs):
            return ours + reference.removeprefix(theirs)
    return reference


@contextmanager
def _named_errors(scheme: str) -> Iterator[None]:
    """Name whatever securesystemslib and the engine's library raise; they document no closed set."""
    engine = _ENGINES[scheme]
    failures: tuple[type[Exception], ...] = (
        Error,
        ValueError,
        LookupError,
        AssertionError,
        OSError,
        *engine.error_types(scheme),
    )
    try:
        yield
    except UnsupportedLibraryError as error:
        raise engine.missing(scheme) from error
    except failures as error:
        said = " ".join(str(error).split())[:300]
        told = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise SigningFailed(f"the engine behind {scheme}: answered {told}", where=_WHERE) from error
