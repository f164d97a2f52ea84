"""The key that this portal signs its verdicts with, as configured."""

from __future__ import annotations

from django.conf import settings

from attestations.signing import portal_signer
from builds.pipeline.signing import Signer


def portal_key() -> Signer:
    """The configured signer; without configuration a key file in the data directory, made on first use.

    Raises what ``portal_signer`` does. A named file is never made: a path that is misspelled must not change who signs.
    """
    environment = settings.ENVIRONMENT
    return portal_signer(
        environment.signing_key or str(settings.DATA_DIR / "keys" / "portal.pem"),
        environment.signing_public_key,
        pin=environment.signing_pin,
        generate=not environment.signing_key,
    )
