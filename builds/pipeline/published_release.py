"""What a publication is to the portal, whatever format it came in: one value that every reader makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from builds.domain.build_info import NamedPackage, Reused
from builds.domain.comparison import PublishedComponent, Subject
from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.manifest import MAX_DOCUMENT_BYTES
from builds.domain.roles import BootMode, Role
from builds.domain.tags import git_commit, git_tag
from builds.pipeline.hashing import UnreadableFile, read_chunks


class MissingFile(MalformedInput):
    """A file that a release must have is not in its directory."""

    code: ClassVar[str] = "missing-file"
    default_todo: ClassVar[str] = "Download the release completely, or ask its publisher for the file."


class AmbiguousAssets(MalformedInput):
    """Two files of a release could be the same thing."""

    code: ClassVar[str] = "ambiguous-assets"
    default_todo: ClassVar[str] = "Leave only the published files in the directory."


class TagNotGiven(PortalError):
    """The publication does not name its own tag, and nobody gave it."""

    code: ClassVar[str] = "tag-not-given"
    default_todo: ClassVar[str] = "Give the tag of the release: import_release DIRECTORY --tag TAG."


@dataclass(frozen=True, slots=True)
class Outside:
    """What the importer knows of a release from elsewhere: its tag and commit, each None when not given.

    ``commit_of`` asks the source repository which commit a tag names; it raises the source's errors.
    Construction raises ``MalformedTag``, ``ReservedTag`` or ``MalformedCommit``.
    """

    tag: str | None
    commit: str | None
    commit_of: Callable[[str], str]

    def __post_init__(self) -> None:
        if self.tag is not None:
            git_tag(self.tag, where="given tag")
        if self.commit is not None:
            git_commit(self.commit, where="given commit")


@dataclass(frozen=True, slots=True)
class Asset:
    """One component's file: where it is, what container it came in, and its digests or why there are none.

    ``file_name`` is the published file ("" when there is none), ``member`` the name inside a tarball that
    holds several components, and ``path`` where the component's own bytes can be read (None: nowhere).
    """

    published: PublishedComponent
    path: Path | None
    container_kind: str
    problem: PortalError | None
    file_name: str = ""
    member: str = ""

    def contradiction(self, document: str) -> str | None:
        """The sentence that says so when the file does not hash to what ``document`` says."""
        published = self.published
        if not published.contradicts_manifest:
            return None
        found, claimed = published.content, published.claimed
        digest = found.get(claimed.algorithm) if found is not None and claimed is not None else "unknown"
        name = self.file_name or str(published.role)
        inside = f" (the content of {name})" if published.container is not None else ""
        return f"{published.role}: {self.member or name}{inside} hashes to {digest}, {document} says {claimed}."


@dataclass(frozen=True, slots=True)
class StatedLaunch:
    """What the documents say a measurement was computed for; ``command_line`` None when they do not name it."""

    boot_mode: BootMode
    vcpus: int
    vcpu_type: str
    command_line: str | None


@dataclass(frozen=True, slots=True)
class StatedMeasurement:
    """A published launch measurement, 96 hex characters; ``launch`` None when only a recipe can say for what."""

    value: str
    launch: StatedLaunch | None


@dataclass(frozen=True, slots=True)
class EmbeddedFile:
    """A file that came along in a container and that no reader can check: its place, digests and kind."""

    container: str
    path: str
    content: FileDigests
    is_elf: bool


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """Everything a publication says and holds; ``contradictions`` are plain sentences.

    ``source_date_epoch`` in seconds. ``document_name`` and ``document_bytes`` are of the document that
    names the components' digests. ``values`` are what a command line's placeholders stand for. ``of_commit`` are those
    of the contradictions that only the commit from outside makes.
    """

    tag: str
    commit: str
    source_date_epoch: int
    document_name: str
    document_bytes: bytes
    measurement: StatedMeasurement | None
    assets: Mapping[Role, Asset]
    contradictions: tuple[str, ...]
    reused: tuple[Reused, ...] = ()
    embedded: tuple[EmbeddedFile, ...] = ()
    packages: tuple[NamedPackage, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    of_commit: tuple[str, ...] = ()


def listing(directory: Path) -> Mapping[str, Path]:
    """The directory's entries by name, in order. Raises ``MissingFile`` and ``UnreadableFile``."""
    try:
        return {path.name: path for path in sorted(directory.iterdir())}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFile("there is no such directory", where=str(directory)) from error
    except OSError as error:
        raise UnreadableFile(f"the directory cannot be listed: {error}"[:300], where=str(directory)) from error


def read_document(path: Path, check: Callable[[], None]) -> bytes:
    """A document's bytes, or its beginning when it is longer than any may be, which its parser refuses."""
    # One chunk is longer than any document may be.
    return next(read_chunks(path, check=check), b"")[: MAX_DOCUMENT_BYTES + 1]


def absent_asset(role: Role, claimed: Digest | None, problem: PortalError) -> Asset:
    """The asset of a component whose bytes are not there."""
    return Asset(PublishedComponent(role, claimed, Subject.CONTENT, None, None), None, "", problem)
