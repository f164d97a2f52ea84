"""A release directory, read and hashed once, believed in nothing: this chooses the format it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from builds.domain.manifest import MANIFEST_FILE
from builds.domain.printable import compared_name
from builds.domain.roles import Role
from builds.pipeline import build_info_release, manifest_release
from builds.pipeline.published_release import AmbiguousAssets, MissingFile, Outside, PublishedRelease, listing


def read_release_directory(
    directory: Path,
    max_asset_bytes: int,
    *,
    outside: Outside,
    work: Path,
    check: Callable[[], None],
    max_role_bytes: Mapping[Role, int] = MappingProxyType({}),
) -> PublishedRelease:
    """Read a release directory of either format. Documents that cannot be read raise; assets keep their own problem.

    ``work`` is an empty directory that holds what must be taken out of a container to be measured; the
    result's paths point into it. ``max_role_bytes`` bounds a file that is the component itself, where it says less than
    ``max_asset_bytes``. A file that does not hash to what the documents say is a contradiction in the result: neither
    refused nor repaired. Raises ``MissingFile`` without any format's document,
    ``AmbiguousAssets`` with those of two, and the errors of the formats' readers.
    """
    files = listing(directory)
    documents = build_info_release.documents(files)
    if MANIFEST_FILE in files:
        if documents:
            raise AmbiguousAssets(
                f"the directory has both {MANIFEST_FILE} and {documents[0].name}", where="release directory"
            )
        return manifest_release.read(files, max_asset_bytes, outside, check=check, max_role_bytes=max_role_bytes)
    if not documents:
        raise MissingFile(f"the directory has no {MANIFEST_FILE} and no build-info-<tag>.txt", where=str(directory))
    return build_info_release.read(files, max_asset_bytes, outside, work, check=check)


def is_document(name: str) -> bool:
    """Whether a file of this name describes a release in a format known here."""
    return name == MANIFEST_FILE or bool(build_info_release.documents({name: Path(name)}))


def is_part_beside(document: str, name: str) -> bool:
    """Whether a file of this name is read in a directory that ``document`` describes."""
    return manifest_release.is_part(name) if document == MANIFEST_FILE else build_info_release.is_part(name)


def is_companion(document: str, name: str) -> bool:
    """Whether a file of this name is read beside ``document`` to say more about the launch measurement."""
    by_manifest = document == MANIFEST_FILE
    return manifest_release.is_companion(name) if by_manifest else build_info_release.is_companion(name)


def is_named_like_part(name: str) -> bool:
    """Whether people or another system would take a file of this name for a part of a release in any format."""
    return is_part(name) or is_part(compared_name(name))


def is_part(name: str) -> bool:
    """Whether a file of this name is read as a document or a component in a format known here."""
    return manifest_release.is_part(name) or build_info_release.is_part(name)
