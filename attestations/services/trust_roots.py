"""Which trust roots there are. The vendored one is checked against its recorded sha256 each time it is read."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from attestations.sigstore_verifier import MalformedTrustRoot, TrustRoot

PUBLIC_GOOD = "public-good"
_VENDORED = Path(__file__).resolve().parent.parent / "trust_roots"


@cache
def public_good() -> TrustRoot:
    """The public-good instance's root, as it lies in this package."""
    path = _VENDORED / "public-good.json"
    data = path.read_bytes()
    expected = (_VENDORED / "SHA256SUMS").read_text().split()[0]
    if hashlib.sha256(data).hexdigest() != expected:
        raise MalformedTrustRoot(f"the vendored trust root is not the recorded sha256:{expected}", where=str(path))
    return TrustRoot.read(PUBLIC_GOOD, data)
