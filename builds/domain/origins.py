"""Where the bytes of a rebuilt file come from: made in the rebuild, or taken as is from an input.

Reproducing is not building from source: a file whose digest equals an input's was only copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from builds.domain.digest import Digest


class OriginKind(StrEnum):
    """The order is the order of preference when the same bytes lie in several inputs."""

    PACKAGE = "package"
    SOURCE = "source"
    OPAQUE = "opaque"
    BUILT = "built"


@dataclass(frozen=True, slots=True)
class Authenticity:
    """Whether a signed index names a material's digest, and the sentence that says which or why not."""

    authenticated: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file inside a locked package; ``decompressed`` when the digest is of its decompressed content."""

    package: str
    version: str
    path: str
    decompressed: bool
    authenticity: Authenticity


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the source tree; ``is_text`` when it is UTF-8 without NUL, so that people can read it."""

    path: str
    is_text: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """One answer, with the sentence that pages show."""

    kind: OriginKind
    sentence: str


type Candidate = PackageFile | SourceFile

_BUILT = Origin(OriginKind.BUILT, "built in this rebuild")


def classify(digest: Digest, size: int, candidates: Mapping[Digest, Sequence[Candidate]]) -> Origin:
    """The origin of a file. An empty file says nothing about where it came from and counts as built.

    Of several inputs with these bytes an authenticated package is named before readable source, and
    that before an opaque input: the best explanation is also a true one, since the bytes are equal.
    """
    if size == 0:
        return _BUILT
    origins = [_origin(candidate) for candidate in candidates.get(digest, ())]
    order = list(OriginKind)
    return min(origins, key=lambda origin: (order.index(origin.kind), origin.sentence), default=_BUILT)


def _origin(candidate: Candidate) -> Origin:
    match candidate:
        case PackageFile():
            what = f"{candidate.path} of package {candidate.package} {candidate.version}"
            if candidate.decompressed:
                what += " (decompressed)"
            kind = OriginKind.PACKAGE if candidate.authenticity.authenticated else OriginKind.OPAQUE
            return Origin(kind, f"taken as is from {what}; {candidate.authenticity.sentence}")
        case SourceFile(is_text=True):
            return Origin(OriginKind.SOURCE, f"taken as is from the source tree: {candidate.path}, readable text")
        case SourceFile():
            return Origin(OriginKind.OPAQUE, f"taken as is from the source tree: {candidate.path}, a prebuilt binary")
