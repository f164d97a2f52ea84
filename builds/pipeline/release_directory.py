"""A release directory as the workflow publishes it, read and hashed once, believed in nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builds.domain.comparison import PublishedComponent, Subject
from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.manifest import (
    MANIFEST_FILE,
    MAX_DOCUMENT_BYTES,
    MEASUREMENT_FILE,
    MEASUREMENT_TEXT_FILE,
    ExpectedMeasurement,
    Manifest,
    parse_manifest,
    parse_measurement,
    parse_measurement_text,
)
from builds.domain.roles import Role
from builds.pipeline.archives import hash_tar_member
from builds.pipeline.hashing import UnreadableFile, hash_file, hash_gzip, read_chunks

_BINARY_NAMES = frozenset({"katana-reproducible", "katana"})


class MissingFile(MalformedInput):
    """A file that a release must have is not in its directory."""

    code: ClassVar[str] = "missing-file"
    default_todo: ClassVar[str] = "Download the release completely, or ask its publisher for the file."


class AmbiguousAssets(MalformedInput):
    """Two files of the directory could be the same component."""

    code: ClassVar[str] = "ambiguous-assets"
    default_todo: ClassVar[str] = "Leave only the published files in the directory."


@dataclass(frozen=True, slots=True)
class Asset:
    """One component's file: where it is, what container it came in, and its digests or why there are none."""

    published: PublishedComponent
    path: Path | None
    container_kind: str
    problem: PortalError | None


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """Everything a release directory says and holds; ``contradictions`` are plain sentences."""

    manifest: Manifest
    manifest_bytes: bytes
    measurement: ExpectedMeasurement | None
    measurement_text: str | None
    assets: Mapping[Role, Asset]
    contradictions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pattern:
    role: Role
    pattern: re.Pattern[str]
    container_kind: str


_ASSETS = (
    _Pattern(Role.KERNEL, re.compile(r"vmlinuz"), ""),
    _Pattern(Role.INITRD, re.compile(r"initrd\.img"), ""),
    _Pattern(Role.OVMF, re.compile(r"(?i:ovmf)\.fd"), ""),
    _Pattern(Role.DISK, re.compile(r"katana-vm-.+\.raw\.gz|disk\.raw\.gz"), "gzip"),
    _Pattern(Role.DISK, re.compile(r"disk\.raw|katana-vm-.+\.raw"), ""),
    _Pattern(Role.KATANA, re.compile(r"katana_.+_linux_amd64_tee\.tar\.gz"), "tar.gz"),
    _Pattern(Role.KATANA, re.compile(r"katana|katana-reproducible"), ""),
)


def read_release_directory(directory: Path, max_asset_bytes: int, *, check: Callable[[], None]) -> PublishedRelease:
    """Read a release directory. Documents that cannot be read raise; assets keep their own problem.

    A file that does not hash to its manifest is a contradiction in the result: neither refused nor repaired.
    """
    files = _listing(directory)
    manifest_bytes = _document(files, MANIFEST_FILE, check)
    if manifest_bytes is None:
        raise MissingFile(f"the directory has no {MANIFEST_FILE}", where=str(directory))
    manifest = parse_manifest(manifest_bytes)
    document = _document(files, MEASUREMENT_FILE, check)
    text = _document(files, MEASUREMENT_TEXT_FILE, check)
    measurement = parse_measurement(document) if document is not None else None
    measurement_text = parse_measurement_text(text) if text is not None else None
    assets = {
        role: asset
        for role in Role
        if (asset := _read_asset(files, role, manifest.digests.get(role), max_asset_bytes, check)) is not None
    }
    contradictions = (
        *(_contradiction(asset) for asset in assets.values() if asset.published.contradicts_manifest),
        *_measurement_contradictions(manifest, measurement, measurement_text),
    )
    return PublishedRelease(manifest, manifest_bytes, measurement, measurement_text, assets, contradictions)


def _listing(directory: Path) -> Mapping[str, Path]:
    """The directory's entries by name, in order."""
    try:
        return {path.name: path for path in sorted(directory.iterdir())}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFile("there is no such directory", where=str(directory)) from error
    except OSError as error:
        raise UnreadableFile(f"the directory cannot be listed: {error}"[:300], where=str(directory)) from error


def _document(files: Mapping[str, Path], name: str, check: Callable[[], None]) -> bytes | None:
    if name not in files:
        return None
    # One chunk is longer than any document may be; one byte over the limit makes the parser refuse it.
    return next(read_chunks(files[name], check=check), b"")[: MAX_DOCUMENT_BYTES + 1]


def _read_asset(
    files: Mapping[str, Path], role: Role, claimed: Digest | None, max_bytes: int, check: Callable[[], None]
) -> Asset | None:
    """The asset of a role; None when neither manifest nor directory has it."""
    candidates = [
        (path, entry.container_kind)
        for name, path in files.items()
        for entry in _ASSETS
        if entry.role is role and entry.pattern.fullmatch(name)
    ]
    nothing = PublishedComponent(role, claimed, Subject.CONTENT, None, None)
    if not candidates:
        if claimed is None:
            return None
        return Asset(
            nothing,
            None,
            "",
            MissingFile(f"the manifest names {role}, but its file is not there", where="release directory"),
        )
    path, kind = candidates[0]
    try:
        if len(candidates) > 1:
            names = ", ".join(candidate.name for candidate, _ in candidates)
            raise AmbiguousAssets(f"several files could be {role}: {names}", where="release directory")
        content, container = _hash_asset(path, kind, max_bytes, check)
    except PortalError as error:
        return Asset(nothing, path, kind, error)
    subject = Subject.CONTENT
    if claimed is not None and container is not None and container.get(claimed.algorithm) == claimed:
        subject = Subject.CONTAINER
    return Asset(PublishedComponent(role, claimed, subject, content, container), path, kind, None)


def _hash_asset(
    path: Path, kind: str, max_bytes: int, check: Callable[[], None]
) -> tuple[FileDigests, FileDigests | None]:
    match kind:
        case "gzip":
            zipped = hash_gzip(path, max_bytes, check=check)
            return zipped.content, zipped.container
        case "tar.gz":
            tarred = hash_tar_member(path, _BINARY_NAMES, max_bytes, check=check)
            return tarred.content, tarred.container
        case _:
            return hash_file(path, check=check, max_bytes=max_bytes), None


def _contradiction(asset: Asset) -> str:
    published = asset.published
    name = asset.path.name if asset.path is not None else str(published.role)
    found = published.content
    claimed = published.claimed
    digest = found.get(claimed.algorithm) if found is not None and claimed is not None else "unknown"
    inside = f" (the content of {name})" if published.container is not None else ""
    return f"{published.role}: {name}{inside} hashes to {digest}, the manifest says {claimed}."


def _measurement_contradictions(
    manifest: Manifest, measurement: ExpectedMeasurement | None, text: str | None
) -> list[str]:
    """Disagreements between the documents about the launch measurement and what it was computed for."""
    found = []
    stated = manifest.measurement
    if stated is not None and measurement is not None:
        if stated.sev_snp_hex != measurement.measurement:
            found.append(f"{MANIFEST_FILE} and {MEASUREMENT_FILE} name different launch measurements.")
        vm = measurement.vm_config
        if (stated.vcpus, stated.vcpu_type) != (vm.vcpus, vm.vcpu_type):
            found.append(f"{MANIFEST_FILE} and {MEASUREMENT_FILE} name different vCPUs.")
    reference = measurement.measurement if measurement is not None else stated.sev_snp_hex if stated else None
    if text is not None and reference is not None and text != reference:
        found.append(f"{MEASUREMENT_TEXT_FILE} names another launch measurement than the other documents.")
    return found
