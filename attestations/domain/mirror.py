"""What a mirror of this portal holds, as formats: one signed checkpoint, and what is reached from it by digest.

Every format is closed and versioned, and what is encoded is the same bytes for the same content. docs/mirror.md
describes them for readers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal, Self
from uuid import UUID

from pydantic import FailFast, Field, StringConstraints, ValidationError, model_validator

from builds.domain.errors import MalformedInput
from builds.domain.frozen import CamelCase, GitCommit, Sha256Hex, Utc, first_problem
from builds.domain.json_depth import nests_deeper
from builds.domain.manifest import Tag, Text, VcpuType
from builds.domain.printable import Line, Slug
from builds.domain.roles import BootMode
from builds.domain.strict_json import load_object

CHECKPOINT_PAYLOAD: Final = "application/vnd.tee-portal.checkpoint.v1+json"
CHECKPOINT_FILE: Final = "checkpoint.json"
MAX_CHECKPOINT_BYTES = 16 * 1024
MAX_OBJECT_BYTES = 6 * 1024 * 1024
"""Of anything that a reader takes; as much as one file of evidence may have."""
MOST_NAMED = 50
"""Releases that one measurement names, the newest first."""
KEY_DIGITS = 16
"""Of a measurement, by which the index finds it; the release's own list of values has all 96."""
_DEEPEST = 12
_WHERE = "mirror"


class MalformedMirror(MalformedInput):
    """A document of a mirror that is not in the format that its checkpoint promises."""

    code: ClassVar[str] = "malformed-mirror"
    default_todo: ClassVar[str] = "Ask another mirror, or the portal itself; docs/mirror.md has the formats."


class Ref(CamelCase):
    """An immutable object of the tree, by the SHA-256 of its bytes and their number.

    One of more than ``MAX_OBJECT_BYTES`` can be named, so that it keeps nobody from the others; readers refuse it.
    """

    sha256: Sha256Hex
    size: Annotated[int, Field(ge=0, lt=2**53)]

    @classmethod
    def to(cls, data: bytes) -> Self:
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    @property
    def index_path(self) -> str:
        """Where it lies as a document of the index, relative to the mirror's address."""
        return f"index/{self.sha256[:2]}/{self.sha256}.json"

    @property
    def blob_path(self) -> str:
        """Where it lies as evidence, byte for byte as the portal serves it."""
        return f"blobs/sha256/{self.sha256[:2]}/{self.sha256}"


class Document(CamelCase):
    """A JSON document of the tree: members in the order of the format, nothing between them."""

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class Checkpoint(Document):
    """Which tree is the portal's from ``issued_at`` on, signed anew at every publication.

    ``sequence`` grows with each that is ever signed. At ``issued_at`` the verdicts in the tree were the portal's.
    """

    format: Literal["https://tee-portal.org/mirror/checkpoint/v1"] = "https://tee-portal.org/mirror/checkpoint/v1"
    portal: Line
    sequence: Annotated[int, Field(ge=1, lt=2**63)]
    issued_at: Utc
    expires_at: Utc
    root: Ref

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Self:
        if self.expires_at <= self.issued_at:
            raise ValueError("it expires before it holds")
        return self

    def has_expired(self, now: datetime) -> bool:
        return now >= self.expires_at


Digits = Literal[0, 2, 3, 4]
"""How many hexadecimal digits of a key choose its shard; 0: there is one shard."""
Prefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,4}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class Tree(CamelCase):
    """A sorted index in shards: ``top`` is the only shard, or the node that leads to all."""

    digits: Digits
    entries: Annotated[int, Field(ge=0)]
    top: Ref


class Root(Document):
    """Where everything of a tree begins."""

    format: Literal["https://tee-portal.org/mirror/root/v1"] = "https://tee-portal.org/mirror/root/v1"
    portal: Line
    releases: Tree
    measurements: Tree
    changes: Ref


class Child(CamelCase):
    prefix: Prefix
    ref: Ref


class Node(Document):
    """Shards, or nodes below, by the first digits of what they hold. What is empty is not named."""

    format: Literal["https://tee-portal.org/mirror/node/v1"] = "https://tee-portal.org/mirror/node/v1"
    prefix: Prefix
    children: Annotated[tuple[Child, ...], FailFast()] = Field(max_length=256)

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        found = [child.prefix for child in self.children]
        if found != sorted(set(found)):
            raise ValueError("the children are not in their order, each once")
        if any(not prefix.startswith(self.prefix) or prefix == self.prefix for prefix in found):
            raise ValueError("a child does not belong below its node")
        return self

    def child(self, prefix: str) -> Ref | None:
        """None says that the tree has nothing there."""
        return next((child.ref for child in self.children if child.prefix == prefix), None)


class ReleaseEntry(CamelCase):
    """A release and its document.

    ``judged`` is false where evidence has come since the verdict was recorded, or nobody compared the two of late: then
    the checkpoint does not vouch that the verdict stands.
    """

    key: Sha256Hex
    project: Line
    tag: Tag
    judged: bool
    document: Ref


class ReleaseShard(Document):
    """Releases whose key begins with ``prefix``, by their keys."""

    format: Literal["https://tee-portal.org/mirror/releases/v1"] = "https://tee-portal.org/mirror/releases/v1"
    prefix: Prefix
    releases: Annotated[tuple[ReleaseEntry, ...], FailFast()]

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        _refuse_disorder([entry.key for entry in self.releases], self.prefix)
        if any(entry.key != release_key(entry.project, entry.tag) for entry in self.releases):
            raise ValueError("a release stands under another's key")
        return self

    def find(self, key: str) -> ReleaseEntry | None:
        return next((entry for entry in self.releases if entry.key == key), None)


class MeasurementShard(Document):
    """Launch measurements by their first digits, each with releases (``project/tag``) that give it.

    ``more`` has those that older releases give too, which are not named.
    """

    format: Literal["https://tee-portal.org/mirror/measurements/v1"] = "https://tee-portal.org/mirror/measurements/v1"
    prefix: Prefix
    values: Annotated[tuple[tuple[Key, Annotated[tuple[Line, ...], FailFast()]], ...], FailFast()]
    more: Annotated[tuple[Key, ...], FailFast()] = ()

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        _refuse_disorder([key for key, _ in self.values], self.prefix)
        return self

    def find(self, key: str) -> tuple[str, ...]:
        return next((names for found, names in self.values if found == key), ())


FileKind = Literal["document", "policy", "verdict", "portal-key", "statement", "rebuilder-key", "attestation"]
"""As the evidence file of docs/verify.md names them."""


class EvidenceEntry(CamelCase):
    """A file of evidence: what it is, where the portal serves it, and the blob with its bytes."""

    kind: FileKind
    address: Line
    ref: Ref
    operator: Slug | None = None


class RecordedDecision(CamelCase):
    """The newest record of the verdict. Without a signed summary among the files nobody signed it by itself."""

    decision: Literal["allow", "deny"]
    at: Utc
    sentence: Text


class ReleaseDocument(Document):
    """All evidence of a release, and the measurements that its files give (None: none was computed)."""

    format: Literal["https://tee-portal.org/mirror/release/v1"] = "https://tee-portal.org/mirror/release/v1"
    project: Line
    tag: Tag
    commit: GitCommit
    verdict: RecordedDecision | None = None
    files: Annotated[tuple[EvidenceEntry, ...], FailFast()]
    measurements: Ref | None = None

    def only(self, kind: FileKind) -> EvidenceEntry | None:
        """The first file of a kind."""
        return next((entry for entry in self.files if entry.kind == kind), None)


class Series(CamelCase):
    """Measurements for 1, 2, ... vCPUs: 96 characters each in ``digests``, everything else being the same."""

    boot_mode: BootMode
    cpu_signature: Annotated[int, Field(ge=0, lt=2**32)]
    vcpu_types: Annotated[tuple[VcpuType, ...], FailFast()] = Field(min_length=1)
    guest_features: Annotated[int, Field(ge=0, lt=2**64)]
    vmm: Line
    command_line: Text
    digests: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{96})*$")]

    def vcpus_of(self, value: str) -> int | None:
        """For how many vCPUs it has this value."""
        starts = range(0, len(self.digests), 96)
        return next((start // 96 + 1 for start in starts if self.digests[start : start + 96] == value), None)


class MeasurementsDocument(Document):
    """Every launch measurement that the portal computed from a release's files."""

    format: Literal["https://tee-portal.org/mirror/series/v1"] = "https://tee-portal.org/mirror/series/v1"
    project: Line
    tag: Tag
    series: Annotated[tuple[Series, ...], FailFast()]


class ChangeEntry(CamelCase):
    """A recorded verdict, as feeds and webhooks tell it."""

    id: UUID
    project: Text
    tag: Text
    at: Utc
    before: Literal["allow", "deny"] | None = None
    after: Literal["allow", "deny"]
    sentence: Text
    changed: Annotated[tuple[Text, ...], FailFast()]
    verdict: Sha256Hex | None = None
    """Of the signed payload; None where nothing was signed."""


class ChangePage(Document):
    """Recorded verdicts in the order of recording; ``number`` counts pages from the first record on."""

    format: Literal["https://tee-portal.org/mirror/changes/v1"] = "https://tee-portal.org/mirror/changes/v1"
    number: Annotated[int, Field(ge=0)]
    changes: Annotated[tuple[ChangeEntry, ...], FailFast()]


class ChangeFeed(Document):
    """The newest pages, oldest first; the last one still grows. The pages before ``first`` are at the portal alone."""

    format: Literal["https://tee-portal.org/mirror/feed/v1"] = "https://tee-portal.org/mirror/feed/v1"
    first: Annotated[int, Field(ge=0)]
    pages: Annotated[tuple[Ref, ...], FailFast()]


def release_key(project: str, tag: str) -> str:
    """What a release is sorted by: spread evenly, whatever publishers call their tags."""
    return hashlib.sha256(f"{project}/{tag}".encode()).hexdigest()


def digits_for(entries: int, most: int) -> Digits:
    """The fewest digits by which shards have not more than ``most`` entries on average."""
    for digits in (0, 2, 3):
        if entries <= most * 16**digits:
            return digits
    return 4


def steps(digits: Digits, key: str) -> tuple[str, ...]:
    """The prefixes on the way from the top to the shard that holds ``key``."""
    return tuple(key[:length] for length in sorted({min(2, digits), digits}) if length)


def parse[Kind: Document](
    kind: type[Kind], data: bytes, *, where: str = _WHERE, most_bytes: int = MAX_OBJECT_BYTES
) -> Kind:
    """Read a document; ``MalformedMirror`` names the first thing that is not as the format has it."""
    if len(data) <= most_bytes and nests_deeper(data, _DEEPEST):
        raise MalformedMirror(f"it is nested more than {_DEEPEST} deep", where=where)
    # The densest honest document, a shard of measurements, has a value in seven bytes.
    load_object(
        data, max_bytes=most_bytes, where=where, error_type=MalformedMirror, max_values=most_bytes // 4, max_members=100
    )
    try:
        return kind.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedMirror(first_problem(error)[:400], where=where) from error


def _refuse_disorder(keys: Sequence[str], prefix: str) -> None:
    if any(not key.startswith(prefix) for key in keys):
        raise ValueError("an entry does not begin with the shard's prefix")
    if any(one >= other for one, other in pairwise(keys)):
        raise ValueError("the entries are not in their order, each once")
