"""Where the bytes of a rebuilt file come from: made in the rebuild, or taken as is from an input.

Reproducing is not building from source: a file whose digest equals an input's was only copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from builds.domain.digest import Digest

MAX_SHOWN_PATH = 300
"""Characters of a path that a sentence shows; a hostile package may hold longer ones."""


class OriginKind(StrEnum):
    """The order is the order of preference when the same bytes lie in several inputs."""

    PACKAGE = "package"
    SOURCE = "source"
    OPAQUE = "opaque"
    BUILT = "built"


@dataclass(frozen=True, slots=True)
class SignedIndex:
    """An archive index whose signature was verified: the suite it speaks for, the digest of its
    InRelease bytes, its own date (UTC), and the primary key fingerprints of its good signatures."""

    suite: str
    release: Digest
    date: datetime
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Authenticity:
    """Whether a signed index names a material's digest: the index, or the reason why none does."""

    index: SignedIndex | None
    reason: str = ""

    @classmethod
    def by(cls, index: SignedIndex) -> Self:
        return cls(index)

    @classmethod
    def unauthenticated(cls, reason: str) -> Self:
        return cls(None, reason)

    @property
    def authenticated(self) -> bool:
        return self.index is not None

    @property
    def sentence(self) -> str:
        """Which signed index names the digest, or why none counts; a clause without a full stop."""
        if self.index is None:
            return f"no signed index names it: {self.reason}"
        keys = ", ".join(self.index.keys)
        return f"{self.summary} (InRelease {self.index.release}; signed by {keys})"

    @property
    def summary(self) -> str:
        """The sentence without the index's digest and keys, for places that repeat it."""
        if self.index is None:
            return self.sentence
        return f"its digest is named by the signed index of {self.index.suite} of {self.index.date:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file inside a locked package; ``decompressed`` when the digest is of its decompressed content.

    An empty ``path`` stands for the package file itself.
    """

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
class DownloadedFile:
    """A file fetched before the build and pinned by digest only; always opaque."""

    name: str


type Candidate = PackageFile | SourceFile | DownloadedFile


@dataclass(frozen=True, slots=True)
class Origin:
    """One answer: its kind, the sentence that pages show, and the input it speaks of (None: built)."""

    kind: OriginKind
    sentence: str
    material: Candidate | None = None


_BUILT = Origin(OriginKind.BUILT, "built in this rebuild")


def classify(digest: Digest, size: int, candidates: Mapping[Digest, Sequence[Candidate]]) -> Origin:
    """The origin of a file. An empty file says nothing about where it came from and counts as built.

    Of several inputs with these bytes an authenticated package is named before readable source, and
    that before an opaque input: the best explanation is also a true one, since the bytes are equal.
    Among equals: bytes as they lie in the input before decompressed ones, then by sentence.
    """
    if size == 0:
        return _BUILT
    origins = [_origin(candidate) for candidate in candidates.get(digest, ())]
    return min(origins, key=_preference, default=_BUILT)


def _preference(origin: Origin) -> tuple[int, bool, str]:
    decompressed = isinstance(origin.material, PackageFile) and origin.material.decompressed
    return list(OriginKind).index(origin.kind), decompressed, origin.sentence


def _origin(candidate: Candidate) -> Origin:
    match candidate:
        case PackageFile():
            package = f"package {candidate.package} {candidate.version}"
            what = f"{_shown(candidate.path)} of {package}" if candidate.path else f"{package} itself"
            if candidate.decompressed:
                what += " (decompressed)"
            kind = OriginKind.PACKAGE if candidate.authenticity.authenticated else OriginKind.OPAQUE
            return Origin(kind, f"taken as is from {what}; {candidate.authenticity.summary}", candidate)
        case SourceFile(is_text=True):
            sentence = f"taken as is from the source tree: {_shown(candidate.path)}, readable text"
            return Origin(OriginKind.SOURCE, sentence, candidate)
        case SourceFile():
            sentence = f"taken as is from the source tree: {_shown(candidate.path)}, a prebuilt binary"
            return Origin(OriginKind.OPAQUE, sentence, candidate)
        case DownloadedFile():
            sentence = f"taken as is from the download {candidate.name}, pinned by its digest only"
            return Origin(OriginKind.OPAQUE, sentence, candidate)


def _shown(path: str) -> str:
    return path if len(path) <= MAX_SHOWN_PATH else f"{path[:MAX_SHOWN_PATH]}…"
