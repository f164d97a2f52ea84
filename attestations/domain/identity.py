"""Who signed: what a Fulcio certificate says of the signer (Fulcio, docs/oid-info.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

FULCIO_ARC = "1.3.6.1.4.1.57264.1"

# OIDs below the arc, by the name this portal uses. 1 to 6 hold bare UTF-8 and are superseded by 8 to 22, which
# hold a DER UTF8String; 7 is the other-name form of the subject alternative name.
EXTENSIONS: Mapping[int, str] = {
    1: "issuer_v1",
    2: "trigger_v1",
    3: "workflow_commit_v1",
    4: "workflow_name_v1",
    5: "repository_v1",
    6: "ref_v1",
    8: "issuer",
    9: "build_signer_uri",
    10: "build_signer_digest",
    11: "runner_environment",
    12: "source_repository",
    13: "source_commit",
    14: "source_ref",
    15: "repository_id",
    16: "owner",
    17: "owner_id",
    18: "build_config_uri",
    19: "build_config_digest",
    20: "trigger",
    21: "run_url",
    22: "visibility",
}
FIRST_DER_EXTENSION = 8

_LONGEST_URI = 2000
# A file may be named release.yml@x.yml: what follows the @ is a full ref or a commit, which no file name can be.
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
_WORKFLOW_URI = re.compile(
    rf"(?P<repository>https://[^@\s]+?)/(?P<path>\.github/workflows/[^@\s]+)@(?P<ref>refs/\S+|{_COMMIT})"
)


WORKFLOW_FOLDER = ".github/workflows/"


def is_commit(text: str) -> bool:
    """Whether the text is a git commit's full name, as a reusable workflow may be called by."""
    return re.fullmatch(_COMMIT, text) is not None


@dataclass(frozen=True, slots=True)
class WorkflowReference:
    """A workflow file: the repository's address, the path inside it, and the git ref it ran from."""

    repository: str
    path: str
    ref: str

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, uri: str) -> WorkflowReference | None:
        """Read ``https://host/owner/name/.github/workflows/file@ref``; None for anything else."""
        # The pattern looks at each place again for each start of a path: no forge's names are this long.
        match = _WORKFLOW_URI.fullmatch(uri) if len(uri) <= _LONGEST_URI else None
        return cls(match["repository"], match["path"], match["ref"]) if match is not None else None


@dataclass(frozen=True, slots=True)
class SignerIdentity:
    """A certificate's subject alternative name and its Fulcio claims, by the names of ``EXTENSIONS``."""

    san: str
    claims: Mapping[str, str]

    def get(self, name: str) -> str:
        """A claim's value; "" when the certificate does not make it."""
        return self.claims.get(name, "")

    @property
    def issuer(self) -> str:
        """The OIDC issuer that Fulcio believed; certificates of before 2022-12 have only the older extension."""
        return self.get("issuer") or self.get("issuer_v1")

    @property
    def source_repository(self) -> str:
        """The address of the repository whose code ran."""
        older = self.get("repository_v1")
        return self.get("source_repository") or (f"https://github.com/{older}" if older else "")

    @property
    def source_commit(self) -> str:
        return self.get("source_commit") or self.get("workflow_commit_v1")

    @property
    def source_ref(self) -> str:
        return self.get("source_ref") or self.get("ref_v1")

    @property
    def caller(self) -> WorkflowReference | None:
        """The workflow that was started; it may have called another one that signed."""
        return WorkflowReference.parse(self.get("build_config_uri") or self.signer_uri)

    @property
    def signer_uri(self) -> str:
        """The workflow that signed, which is also the certificate's name."""
        return self.get("build_signer_uri") or self.san

    @property
    def contradicts_itself(self) -> bool:
        """Whether older and newer extensions, or the name and the build signer, tell different stories."""
        pairs = (
            (self.get("issuer"), self.get("issuer_v1")),
            (self.get("source_commit"), self.get("workflow_commit_v1")),
            (self.get("source_ref"), self.get("ref_v1")),
            (self.get("build_signer_uri"), self.san),
        )
        return any(newer and older and newer != older for newer, older in pairs)


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """A signer that is a plain public key: sha256 of its SubjectPublicKeyInfo, and the hint the bundle gives."""

    fingerprint: str
    hint: str
