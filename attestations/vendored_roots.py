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
    return TrustRoot.read(PUBLIC_GOOD, _checked("public-good.json"))


def public_good_tuf_root() -> bytes:
    """The TUF root.json that refreshing the public-good root begins with."""
    return _checked("public-good.tuf-root.json")


def _checked(name: str) -> bytes:
    data = (_FOLDER / name).read_bytes()
    line = f"{hashlib.sha256(data).hexdigest()}  {name}"
    if line not in (_FOLDER / "SHA256SUMS").read_text().splitlines():
        raise MalformedTrustRoot("the vendored file is not the one whose sha256 was recorded", where=name)
    return data
