"""Trust roots: files that we name. A root is never fetched, cached or guessed here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Self
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import Certificate, DuplicateExtension, InvalidVersion, Name
from pydantic import ValidationError
from sigstore.errors import Error as SigstoreError
from sigstore.models import TrustedRoot
from sigstore_models.trustroot import v1 as trustroot_v1

from attestations.domain.findings import TrustRootRef
from attestations.sigstore_verifier.additions import LenientVerifier, PreparedRoot
from builds.domain.errors import MalformedInput
from builds.domain.frozen import first_problem
from builds.domain.strict_json import load_object

MAX_TRUST_ROOT_BYTES = 1024 * 1024


# What sigstore's models and cryptography raise on certificates and keys that are none.
_UNREADABLE: tuple[type[Exception], ...] = (
    SigstoreError,
    UnsupportedAlgorithm,
    InvalidVersion,
    DuplicateExtension,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)


class MalformedTrustRoot(MalformedInput):
    """A file that is no Sigstore trusted root (protobuf-specs, sigstore_trustroot.proto)."""

    code = "malformed-trust-root"
    default_todo = "Take trusted_root.json from the instance's TUF repository, or from `gh attestation trusted-root`."


@dataclass(frozen=True, slots=True)
class Authority:
    """One certificate authority, log or timestamp authority of a root, and when its word counts (UTC)."""

    kind: str
    name: str
    valid_from: datetime | None
    valid_until: datetime | None


@dataclass(frozen=True)
class TrustRoot:
    """A trusted root under the name it was given; ``data`` is the file as it came."""

    name: str
    data: bytes
    trusted_root: TrustedRoot

    @classmethod
    def read(cls, name: str, data: bytes) -> Self:
        """Read trusted_root.json; ``MalformedTrustRoot`` names what is wrong.

        A root without logs (GitHub's own) leaves the empty lists out, which sigstore's model does not expect.
        """
        document = load_object(data, max_bytes=MAX_TRUST_ROOT_BYTES, where=name, error_type=MalformedTrustRoot)
        completed = {"tlogs": [], "ctlogs": [], "timestampAuthorities": [], **document}
        try:
            model = trustroot_v1.TrustedRoot.from_json(json.dumps(completed))
            root = cls(name, data, PreparedRoot(model))
            if not root.issuers:
                raise MalformedTrustRoot("the trust root names no certificate authority", where=name)
        except ValidationError as error:
            raise MalformedTrustRoot(f"this is no trust root: {first_problem(error)}", where=name) from error
        except _UNREADABLE as error:
            raise MalformedTrustRoot(f"the trust root cannot be read: {str(error)[:200]}", where=name) from error
        return root

    @cached_property
    def ref(self) -> TrustRootRef:
        return TrustRootRef(self.name, hashlib.sha256(self.data).hexdigest())

    @cached_property
    def issuers(self) -> frozenset[Name]:
        """The names of every certificate that may issue signing certificates."""
        certificates: list[Certificate] = self.trusted_root.get_fulcio_certs()
        return frozenset(certificate.subject for certificate in certificates)

    @cached_property
    def verifier(self) -> LenientVerifier:
        return LenientVerifier(self.trusted_root)

    @property
    def has_logs(self) -> bool:
        return bool(self.trusted_root._inner.tlogs)

    @property
    def is_local(self) -> bool:
        """Whether its authorities bear names that nobody can own (RFC 2606): those of demos and tests do."""
        addresses = (urlsplit(authority.name).hostname or "" for authority in self.authorities)
        return any(address.endswith(".invalid") for address in addresses)

    @property
    def logs(self) -> dict[str, str]:
        """Each transparency log's address by its id, the sha256 of its key in hex."""
        return {log.log_id.key_id.hex(): log.base_url for log in self.trusted_root._inner.tlogs}

    @property
    def authorities(self) -> tuple[Authority, ...]:
        """Everything the root trusts, for people to read."""
        model = self.trusted_root._inner
        found = []
        for kind, entries in (
            ("certificate authority", model.certificate_authorities),
            ("timestamp authority", model.timestamp_authorities),
        ):
            for entry in entries:
                subject = f"{entry.subject.common_name}, {entry.subject.organization}"
                found.append(Authority(kind, entry.uri or subject, entry.valid_for.start, entry.valid_for.end))
        for kind, logs in (("transparency log", model.tlogs), ("certificate log", model.ctlogs)):
            for log in logs:
                span = log.public_key.valid_for
                found.append(Authority(kind, log.base_url, span.start if span else None, span.end if span else None))
        return tuple(found)


def is_one_a_line(lines: Sequence[bytes]) -> bool:
    """Whether each line of a file looks like a whole root, not like a part of one that is spread over many."""
    return bool(lines) and all(line.startswith(b"{") and line.rstrip().endswith(b"}") for line in lines)


def read_trust_roots(name: str, data: bytes) -> list[TrustRoot]:
    """One root, or one on each line as `gh attestation trusted-root` prints them; those are numbered from 1."""
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1 and is_one_a_line(lines):
        return [TrustRoot.read(f"{name}:{number}", line) for number, line in enumerate(lines, start=1)]
    return [TrustRoot.read(name, data)]
