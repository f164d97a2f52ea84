"""The trust root that comes with this package: a file that we name, never a cache that something else may write."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from attestations.sigstore_verifier import MalformedTrustRoot, TrustRoot

PUBLIC_GOOD = "public-good"
_FOLDER = Path(__file__).resolve().parent / "trust_roots"


@cache
def public_good() -> TrustRoot:
    """The public-good instance's root, as sigstore's package ships it, checked against its recorded sha256."""
    path = _FOLDER / "public-good.json"
    data = path.read_bytes()
    expected = (_FOLDER / "SHA256SUMS").read_text().split()[0]
    if hashlib.sha256(data).hexdigest() != expected:
        raise MalformedTrustRoot(f"the vendored trust root is not the recorded sha256:{expected}", where=str(path))
    return TrustRoot.read(PUBLIC_GOOD, data)
