"""sigstore-python called bare. Usage: bare_sigstore.py TRUSTED_ROOT BUNDLE

For each line with a number on stdin it verifies that often and prints the seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cryptography.x509 import Certificate
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier


class Anyone:
    """No expected signer: only what sigstore itself checks is timed."""

    def verify(self, cert: Certificate) -> None:
        pass


def main() -> None:
    root, path = sys.argv[1:]
    verifier = Verifier(trusted_root=TrustedRoot.from_file(root))
    data = Path(path).read_bytes()
    policy = Anyone()
    for line in sys.stdin:
        began = time.monotonic()
        for _ in range(int(line)):
            verifier.verify_dsse(Bundle.from_json(data), policy)
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main()
