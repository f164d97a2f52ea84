"""The format with a manifest: ``manifest.json``, ``expected-measurement.json`` and ``.txt``, one file a component."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from builds.domain.comparison import PublishedComponent, Subject
from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import PortalError
from builds.domain.manifest import (
    MANIFEST_FILE,
    MEASUREMENT_FILE,
    MEASUREMENT_TEXT_FILE,
    ExpectedMeasurement,
    Manifest,
    parse_manifest,
    parse_measurement,
    parse_measurement_text,
)
from builds.domain.roles import BootMode, Role
from builds.pipeline.hashing import hash_file, hash_gzip
from builds.pipeline.published_release import (
    AmbiguousAssets,
    Asset,
    MissingFile,
    Outside,
    PublishedRelease,
    StatedLaunch,
    StatedMeasurement,
    absent_asset,
    read_document,
)
from builds.pipeline.tarballs import hash_tar_member

_BINARY_NAMES = frozenset({"katana-reproducible", "katana"})


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


def is_part(name: str) -> bool:
    """Whether a file of this name is read as one of this format's documents or components."""
    return name == MANIFEST_FILE or is_companion(name) or any(entry.pattern.fullmatch(name) for entry in _ASSETS)


def is_companion(name: str) -> bool:
    """Whether a file of this name says more about the measurement that the manifest names."""
    return name in {MEASUREMENT_FILE, MEASUREMENT_TEXT_FILE}


def read(
    files: Mapping[str, Path],
    max_asset_bytes: int,
    outside: Outside,
    *,
    check: Callable[[], None],
    max_role_bytes: Mapping[Role, int] = MappingProxyType({}),
) -> PublishedRelease:
    """Read the files of a release directory that has a manifest; ``max_role_bytes`` bounds what is in no container.

    Raises ``MalformedManifest``, ``MalformedMeasurement`` and ``UnreadableFile`` for the documents.
    """
    manifest_bytes = read_document(files[MANIFEST_FILE], check)
    manifest = parse_manifest(manifest_bytes)
    document = read_document(files[MEASUREMENT_FILE], check) if MEASUREMENT_FILE in files else None
    text = read_document(files[MEASUREMENT_TEXT_FILE], check) if MEASUREMENT_TEXT_FILE in files else None
    measurement = parse_measurement(document) if document is not None else None
    measurement_text = parse_measurement_text(text) if text is not None else None

    def most(role: Role) -> Callable[[str], int]:
        bare = min(max_asset_bytes, max_role_bytes.get(role, max_asset_bytes))
        return lambda kind: max_asset_bytes if kind else bare

    assets = {
        role: asset
        for role in Role
        if (asset := _read_asset(files, role, manifest.digests.get(role), most(role), check)) is not None
    }
    of_commit = _commit_contradictions(manifest, outside)
    return PublishedRelease(
        tag=manifest.katana_version,
        commit=manifest.git_commit,
        source_date_epoch=manifest.source_date_epoch,
        document_name=MANIFEST_FILE,
        document_bytes=manifest_bytes,
        measurement=_stated(manifest, measurement),
        assets=assets,
        contradictions=(
            *(sentence for asset in assets.values() if (sentence := asset.contradiction("the manifest"))),
            *_measurement_contradictions(manifest, measurement, measurement_text),
            *_tag_contradictions(manifest, outside),
            *of_commit,
        ),
        of_commit=of_commit,
    )


def _read_asset(
    files: Mapping[str, Path],
    role: Role,
    claimed: Digest | None,
    most: Callable[[str], int],
    check: Callable[[], None],
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
        missing = MissingFile(f"the manifest names {role}, but its file is not there", where="release directory")
        return absent_asset(role, claimed, missing)
    path, kind = candidates[0]
    try:
        if len(candidates) > 1:
            names = ", ".join(candidate.name for candidate, _ in candidates)
            raise AmbiguousAssets(f"several files could be {role}: {names}", where="release directory")
        content, container = _hash_asset(path, kind, most(kind), check)
    except PortalError as error:
        return Asset(nothing, path, kind, error, file_name=path.name)
    subject = Subject.CONTENT
    if claimed is not None and container is not None and container.get(claimed.algorithm) == claimed:
        subject = Subject.CONTAINER
    published = PublishedComponent(role, claimed, subject, content, container)
    return Asset(published, path, kind, None, file_name=path.name)


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


def _stated(manifest: Manifest, document: ExpectedMeasurement | None) -> StatedMeasurement | None:
    """The published measurement with what it was computed for; the measurement document says most."""
    if document is not None:
        vm = document.vm_config
        command_line = document.components.cmdline if document.boot_mode is BootMode.DIRECT_KERNEL else ""
        launch = StatedLaunch(document.boot_mode, vm.vcpus, vm.vcpu_type, command_line)
        return StatedMeasurement(document.measurement, launch)
    if (stated := manifest.measurement) is not None:
        launch = StatedLaunch(BootMode.DIRECT_KERNEL, stated.vcpus, stated.vcpu_type, None)
        return StatedMeasurement(stated.sev_snp_hex, launch)
    return None


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


def _tag_contradictions(manifest: Manifest, outside: Outside) -> tuple[str, ...]:
    """Where the manifest names another tag than its importer was told the release has."""
    if outside.tag is None or outside.tag == manifest.katana_version:
        return ()
    return (f"The release was imported as tag {outside.tag}, the manifest says {manifest.katana_version}.",)


def _commit_contradictions(manifest: Manifest, outside: Outside) -> tuple[str, ...]:
    """Where the manifest names another commit than its importer was told the release is of."""
    if outside.commit is None or outside.commit == manifest.git_commit:
        return ()
    return (f"The release was imported as commit {outside.commit}, the manifest says {manifest.git_commit}.",)
