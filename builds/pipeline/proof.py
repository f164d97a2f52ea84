"""Looks whether an operator shows its key's name where only it can write: on its domain, or as a tag in its repository.

Asked for by an administrator, never by a stranger's request.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import ClassVar

import requests

from builds.domain.errors import PortalError
from builds.domain.requests import ProofKind
from builds.pipeline.source import GitSource, TagMismatch

PROOF_PATH = "/.well-known/tee-portal-rebuilder.txt"
_MAX_PROOF_BYTES = 64 * 1024
_SECONDS = 20.0


class ProofNotShown(PortalError):
    """The key's name is not where the operator said it would be."""

    code: ClassVar[str] = "proof-not-shown"
    default_todo: ClassVar[str] = "Ask the operator to publish it, or identify it in another way and say how."


def proof_place(kind: ProofKind, location: str, fingerprint: str) -> str:
    """Where the operator is to show that a key is its own, in words."""
    if kind is ProofKind.DOMAIN:
        return f"a line with the key's name in https://{location}{PROOF_PATH}"
    return f"a tag named {proof_tag(fingerprint)} in {location}"


def proof_tag(fingerprint: str) -> str:
    return f"tee-portal-rebuilder-{fingerprint}"


def check_proof(kind: ProofKind, location: str, name: str, fingerprint: str, *, scheme: str = "https") -> str:
    """A sentence that says what was seen where; ``ProofNotShown`` and the errors of git otherwise."""
    if kind is ProofKind.REPOSITORY:
        return _check_repository(location, fingerprint)
    address = f"{scheme}://{location}{PROOF_PATH}"
    lines = _lines(address)
    if name not in lines:
        raise ProofNotShown(f"no line there is {name}", where=address)
    return f"{address} names its key"


def _check_repository(location: str, fingerprint: str) -> str:
    tag = proof_tag(fingerprint)
    with tempfile.TemporaryDirectory(prefix="proof-") as work:
        try:
            # A renamed repository, or an open redirect on its forge, would show somebody else's tag.
            GitSource(location, lambda: None, follows_redirects=False).commit_of_tag(tag, Path(work))
        except TagMismatch as error:
            raise ProofNotShown(f"there is no tag {tag}", where=location) from error
    return f"{location} has a tag that names its key"


def _lines(address: str) -> list[str]:
    """The lines of a small text file; redirects are not followed: they would show somebody else's word."""
    deadline = time.monotonic() + _SECONDS
    data = bytearray()
    try:
        with requests.get(address, timeout=_SECONDS, allow_redirects=False, stream=True) as answer:
            if answer.status_code != requests.codes.ok:
                raise ProofNotShown(f"the answer is {answer.status_code}", where=address)
            # Byte by byte: a larger piece that never fills would be waited for beyond the deadline.
            for byte in answer.iter_content(1):
                data += byte
                if len(data) >= _MAX_PROOF_BYTES:
                    break
                if time.monotonic() > deadline:
                    raise ProofNotShown(f"the answer took longer than {_SECONDS:.0f} seconds", where=address)
    except requests.RequestException as error:
        raise ProofNotShown(f"no answer: {type(error).__name__}", where=address) from error
    return [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
