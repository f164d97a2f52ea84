"""Evidence of one release as one file, for machines without a network: every byte as the portal served it.

The format is closed and versioned; docs/verify.md describes it. Nothing in it is believed for being there: a digest
only says that the file was not damaged, and what was signed is checked elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import FailFast, Field, ValidationError, model_validator

from builds.domain.errors import MalformedInput
from builds.domain.frozen import CamelCase, Sha256Hex, Utc, first_problem
from builds.domain.manifest import Tag
from builds.domain.printable import Line, Slug
from builds.domain.requests import ReleaseName
from builds.domain.strict_json import load_object
from builds.pipeline.hashing import open_regular
from builds.pipeline.regular_files import UnusableOutput, replace_file, replaceable_mode

EVIDENCE_FORMAT: Final = "https://tee-portal.org/evidence/v1"
MAX_FILE_BYTES = 6 * 1024 * 1024
MAX_TOTAL_BYTES = 48 * 1024 * 1024
MAX_FILES = 2000
MAX_VALUES = 20 * MAX_FILES
# Base64 takes four bytes for three; the rest is addresses and digests.
MAX_EVIDENCE_BYTES = MAX_TOTAL_BYTES * 4 // 3 + MAX_FILES * 4096
# Nothing in it is secret, and who verifies is often somebody else than who saved it.
_READABLE: Final = 0o644


class MalformedEvidence(MalformedInput):
    """A file that is no evidence in the format this program reads, or too large to be."""

    code: ClassVar[str] = "malformed-evidence"
    default_todo: ClassVar[str] = "Save it again: tee-portal-verify bundle PROJECT/TAG -o FILE --portal URL"


class Kind(StrEnum):
    """What a file of the evidence is."""

    DOCUMENT = "document"
    VERDICT = "verdict"
    POLICY = "policy"
    PORTAL_KEY = "portal-key"
    STATEMENT = "statement"
    REBUILDER_KEY = "rebuilder-key"
    ATTESTATION = "attestation"
    CHECKPOINT = "checkpoint"
    """Of a mirror, signed by the portal: which verdicts were the newest at its moment."""
    INDEX = "index"
    """A document on the way from the checkpoint to this release."""


class EvidenceFile(CamelCase):
    """One file: where the portal serves it, the sha256 of its bytes, and the bytes in base64.

    ``operator`` names whose statement or key the portal says it is; nobody signed that.
    """

    kind: Kind
    address: Line
    sha256: Sha256Hex
    content: Annotated[str, Field(max_length=MAX_FILE_BYTES * 4 // 3 + 4)]
    operator: Slug | None = None

    @classmethod
    def of(cls, kind: Kind, address: str, data: bytes, operator: str | None = None) -> Self:
        return cls(
            kind=kind,
            address=address,
            sha256=hashlib.sha256(data).hexdigest(),
            content=base64.b64encode(data).decode(),
            operator=operator,
        )

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.content, validate=True)

    @model_validator(mode="after")
    def _is_undamaged(self) -> Self:
        try:
            found = hashlib.sha256(self.data).hexdigest()
        except binascii.Error as error:
            raise ValueError("the content is no base64") from error
        if found != self.sha256:
            raise ValueError("the content does not hash to its sha256")
        return self


class Evidence(CamelCase):
    """All that a portal had about one release at a moment of the collecting machine's clock."""

    format: Literal["https://tee-portal.org/evidence/v1"] = EVIDENCE_FORMAT
    portal: Line
    collected_at: Utc
    project: Slug
    tag: Tag
    files: Annotated[tuple[EvidenceFile, ...], FailFast()] = Field(max_length=MAX_FILES)

    @model_validator(mode="after")
    def _one_of_a_kind(self) -> Self:
        for kind in (Kind.DOCUMENT, Kind.VERDICT, Kind.POLICY, Kind.CHECKPOINT):
            if len(self.of_kind(kind)) > 1:
                raise ValueError(f"there are several files of the kind {kind}, and nothing says which one holds")
        return self

    @property
    def release(self) -> ReleaseName:
        return ReleaseName(project=self.project, tag=self.tag)

    def of_kind(self, kind: Kind) -> list[EvidenceFile]:
        return [file for file in self.files if file.kind is kind]

    def only(self, kind: Kind) -> EvidenceFile | None:
        """The file of a kind of which there is at most one."""
        return next(iter(self.of_kind(kind)), None)

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()


def evidence_of(portal: str, release: ReleaseName, at: Utc, files: Iterable[EvidenceFile]) -> Evidence:
    """Evidence as a portal gave it; ``MalformedEvidence`` for what the format cannot hold."""
    try:
        return Evidence(portal=portal, collected_at=at, project=release.project, tag=release.tag, files=tuple(files))
    except ValidationError as error:
        raise MalformedEvidence(first_problem(error)[:400], where="evidence") from error


def parse_evidence(data: bytes, *, where: str) -> Evidence:
    """Read an evidence file's bytes; ``MalformedEvidence`` names the first thing that is wrong."""
    # Read once by the strict reader: duplicate names would let two readers see two releases.
    held = load_object(
        data, max_bytes=MAX_EVIDENCE_BYTES, where=where, error_type=MalformedEvidence, max_values=MAX_VALUES
    )
    if "format" not in held:
        raise MalformedEvidence("it does not say which format it has", where=where)
    try:
        return Evidence.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedEvidence(first_problem(error)[:400], where=where) from error


def read_evidence(path: Path) -> Evidence:
    """Read an evidence file, also behind a link.

    Raises ``UnreadableFile``, or ``MalformedEvidence`` before more than the limit is read.
    """
    with open_regular(path.resolve()) as file:
        return parse_evidence(file.read(MAX_EVIDENCE_BYTES + 1), where=path.name)


def refuse_output(path: Path) -> None:
    """Raise ``UnusableOutput`` where no evidence is written: it would destroy a device or what a link leads to."""
    if path == Path("-"):
        todo = "Name a file with -o FILE: evidence is read again from a file, and standard output has what was done."
        raise UnusableOutput("evidence is not written to standard output", where="-o", todo=todo)
    replaceable_mode(path, _READABLE)


def write_evidence(evidence: Evidence, path: Path) -> None:
    """Write the file whole or not at all; an older one of the name is replaced. Raises ``UnusableOutput``."""
    refuse_output(path)
    replace_file(path, evidence.encode(), mode=_READABLE)
