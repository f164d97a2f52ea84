"""The only importer of sigstore: bundles in, what cryptography says of them out. Nothing here uses the network."""

from attestations.sigstore_verifier.outcome import VERIFIER
from attestations.sigstore_verifier.parts import MAX_BUNDLE_BYTES
from attestations.sigstore_verifier.trust_root import (
    MAX_TRUST_ROOT_BYTES,
    MalformedTrustRoot,
    TrustRoot,
    is_one_a_line,
    read_trust_roots,
)
from attestations.sigstore_verifier.verifier import BundleVerifier, MalformedKey, TrustedKey, read_public_key

__all__ = [
    "MAX_BUNDLE_BYTES",
    "MAX_TRUST_ROOT_BYTES",
    "VERIFIER",
    "BundleVerifier",
    "MalformedKey",
    "MalformedTrustRoot",
    "TrustRoot",
    "TrustedKey",
    "is_one_a_line",
    "read_public_key",
    "read_trust_roots",
]
