"""What an unverified bundle claims to be about: good enough to file it, and for nothing else."""

from __future__ import annotations

import base64
import json

from attestations.domain.statement import parse_statement
from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput


def claimed_subjects(data: bytes) -> frozenset[Digest]:
    """The digests a bundle's statement or message names; empty for whatever cannot be read."""
    try:
        document = json.loads(data)
        if "messageSignature" in document:
            stated = document["messageSignature"]["messageDigest"]["digest"]
            return frozenset({Digest.sha256(base64.b64decode(stated).hex())})
        statement = parse_statement(base64.b64decode(document["dsseEnvelope"]["payload"]))
    except (ValueError, TypeError, LookupError, RecursionError, MalformedInput):
        return frozenset()
    return frozenset(digest for subject in statement.subjects for digest in subject.digests)
