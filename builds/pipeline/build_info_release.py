"""The format of Katana's VM releases: one tarball with every component, build-info and the measurement as text.

``katana-tee-vm-<tag>.tar.gz`` holds OVMF.fd, vmlinuz, initrd.img, katana and others, at its top or in one
leading directory; ``build-info-<tag>.txt`` and ``launch-measurement-<tag>.txt`` speak of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builds.domain.build_info import BuildInfo, parse_build_info
from builds.domain.comparison import PublishedComponent, Subject
from builds.domain.errors import DiskFull, PortalError
from builds.domain.manifest import parse_measurement_text
from builds.domain.roles import Role
from builds.pipeline.archives import MalformedArchive
from builds.pipeline.measurement import MAX_BOOT_FILE_BYTES
from builds.pipeline.published_release import (
    AmbiguousAssets,
    Asset,
    EmbeddedFile,
    MissingFile,
    Outside,
    PublishedRelease,
    StatedMeasurement,
    TagNotGiven,
    read_document,
)
from builds.pipeline.tarballs import Tarball, TarMember, read_tarball

CONTAINER_KIND = "tar.gz"
_TAG = r"[A-Za-z0-9._+-]+"
_BUILD_INFO = re.compile(rf"build-info-({_TAG})\.txt", re.ASCII)
_TARBALL = re.compile(rf"katana-tee-vm-({_TAG})\.tar\.gz", re.ASCII)
_MEASUREMENT = re.compile(rf"launch-measurement-({_TAG})\.txt", re.ASCII)
_WHERE = "release directory"
_MOST_PARTS = 2

_MEMBERS: Mapping[str, Role] = {
    "katana": Role.KATANA,
    "vmlinuz": Role.KERNEL,
    "initrd.img": Role.INITRD,
    "ovmf.fd": Role.OVMF,
}
_MEASURED = frozenset({Role.KERNEL, Role.INITRD, Role.OVMF})


@dataclass(frozen=True, slots=True)
class _Opened:
    """The tarball as far as it can be read: its name, its content or why there is none."""

    name: str
    tarball: Tarball | None
    problem: PortalError | None

    def members(self, role: Role | None) -> list[TarMember]:
        """The members that are called like a component."""
        return [member for member in self.tarball.members if _role(member) is role] if self.tarball is not None else []

    def one(self, role: Role) -> TarMember:
        """The one member that is the component: a regular file in the directory where all components lie."""
        found = self.members(role)
        if not found:
            raise MissingFile(f"the tarball holds no {role}", where=self.name)
        if len(found) > 1:
            names = ", ".join(str(member.path)[:100] for member in found[:5])
            raise AmbiguousAssets(f"the tarball holds {role} more than once: {names}", where=self.name)
        if len({member.path.parent for role in _MEMBERS.values() for member in self.members(role)}) > 1:
            raise AmbiguousAssets("the tarball holds components in several directories", where=self.name)
        if found[0].content is None:
            raise MalformedArchive(f"{role} is not a regular file in the tarball", where=self.name)
        return found[0]


def documents(files: Mapping[str, Path]) -> list[Path]:
    """The files that are called like this format's document."""
    return _matching(files, _BUILD_INFO)


def is_part(name: str) -> bool:
    """Whether a file of this name is read as one of this format's documents or as its tarball."""
    return any(pattern.fullmatch(name) for pattern in (_BUILD_INFO, _TARBALL, _MEASUREMENT))


def is_companion(name: str) -> bool:
    """Whether a file of this name says more about the measurement that the build-info names."""
    return _MEASUREMENT.fullmatch(name) is not None


def read(
    files: Mapping[str, Path], max_asset_bytes: int, outside: Outside, work: Path, *, check: Callable[[], None]
) -> PublishedRelease:
    """Read the files of a release directory that has a build-info; measured files are written into ``work``.

    Raises ``TagNotGiven``, ``AmbiguousAssets`` and ``MalformedBuildInfo`` or ``MalformedMeasurement`` for the
    documents, what ``outside`` raises when it is asked for the commit, and ``DiskFull``. A tarball that is not there,
    there twice or unreadable is a problem of each component instead.
    """
    document = _only(files, _BUILD_INFO, "build-info")
    if document is None:
        raise MissingFile("the directory has no build-info-<tag>.txt", where=_WHERE)
    if outside.tag is None:
        raise TagNotGiven(f"{document.name} does not say which tag it belongs to", where=document.name)
    document_bytes = read_document(document, check)
    info = parse_build_info(document_bytes, where=document.name)
    text_name, text = _measurement_text(files, check)
    commit = outside.commit if outside.commit is not None else outside.commit_of(outside.tag)
    opened = _open(files, max_asset_bytes, work, check)
    assets = {role: asset for role in Role if (asset := _asset(role, info, opened, work)) is not None}
    value = info.launch_measurement or text
    return PublishedRelease(
        tag=outside.tag,
        commit=commit,
        source_date_epoch=info.source_date_epoch,
        document_name=document.name,
        document_bytes=document_bytes,
        measurement=StatedMeasurement(value, None) if value is not None else None,
        assets=assets,
        contradictions=(
            *(sentence for asset in assets.values() if (sentence := asset.contradiction(document.name))),
            *_measurement_contradictions(document.name, info, text_name, text),
            *_name_contradictions(files, outside.tag),
        ),
        reused=info.reused,
        embedded=tuple(_embedded(opened)),
        packages=info.packages,
        values=info.values,
    )


def _matching(files: Mapping[str, Path], pattern: re.Pattern[str]) -> list[Path]:
    return [path for name, path in files.items() if pattern.fullmatch(name)]


def _only(files: Mapping[str, Path], pattern: re.Pattern[str], what: str) -> Path | None:
    found = _matching(files, pattern)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise AmbiguousAssets(f"several files could be {what}: {names}", where=_WHERE)
    return found[0] if found else None


def _open(files: Mapping[str, Path], max_bytes: int, work: Path, check: Callable[[], None]) -> _Opened:
    """Hash everything in the tarball and take out what is measured; a problem of the archive stays a value."""
    keep = {name: work / role for name, role in _MEMBERS.items() if role in _MEASURED}
    name = ""
    try:
        path = _only(files, _TARBALL, "the tarball of components")
        if path is None:
            raise MissingFile("katana-tee-vm-<tag>.tar.gz is not there", where=_WHERE)
        name = path.name
        return _Opened(
            name, read_tarball(path, max_bytes, keep=keep, check=check, max_kept_bytes=MAX_BOOT_FILE_BYTES), None
        )
    except DiskFull:
        # The portal's own trouble is no fact about the release.
        raise
    except PortalError as error:
        return _Opened(name, None, error)


def _asset(role: Role, info: BuildInfo, opened: _Opened, work: Path) -> Asset | None:
    """The component of a role; None for a role that neither build-info nor the tarball has, as ``disk``."""
    claimed = info.digests.get(role)
    if opened.tarball is None:
        if claimed is None:
            return None
        nothing = PublishedComponent(role, claimed, Subject.CONTENT, None, None)
        return Asset(nothing, None, CONTAINER_KIND, opened.problem, file_name=opened.name)
    if not opened.members(role) and claimed is None:
        return None
    container = opened.tarball.container
    try:
        member = opened.one(role)
    except PortalError as error:
        nothing = PublishedComponent(role, claimed, Subject.CONTENT, None, container)
        return Asset(nothing, None, CONTAINER_KIND, error, file_name=opened.name)
    published = PublishedComponent(role, claimed, Subject.CONTENT, member.content, container)
    # What is too large to be measured was not taken out.
    is_kept = role in _MEASURED and member.content is not None and member.content.size <= MAX_BOOT_FILE_BYTES
    path = work / role if is_kept else None
    return Asset(published, path, CONTAINER_KIND, None, file_name=opened.name, member=str(member.path))


def _embedded(opened: _Opened) -> Iterator[EmbeddedFile]:
    """Katana and every other file that is neither readable text nor a component of its own."""
    if opened.tarball is None:
        return
    for member in opened.tarball.members:
        role = _role(member)
        is_component = role in _MEASURED and len(opened.members(role)) == 1
        if member.content is None or member.content.size == 0 or is_component:
            continue
        if role is Role.KATANA or not member.is_text:
            yield EmbeddedFile(opened.name, str(member.path), member.content, member.is_elf)


def _role(member: TarMember) -> Role | None:
    """Which component a member is by its name; deeper files than one directory are none."""
    return _MEMBERS.get(member.path.name.lower()) if len(member.path.parts) <= _MOST_PARTS else None


def _measurement_text(files: Mapping[str, Path], check: Callable[[], None]) -> tuple[str, str | None]:
    """The name of the measurement's own file and its 96 hex characters; None when it is not there."""
    path = _only(files, _MEASUREMENT, "the launch measurement")
    if path is None:
        return "", None
    return path.name, parse_measurement_text(read_document(path, check), where=path.name)


def _measurement_contradictions(document: str, info: BuildInfo, text_name: str, text: str | None) -> list[str]:
    if text is None or info.launch_measurement in {None, text}:
        return []
    return [f"{document} and {text_name} name different launch measurements."]


def _name_contradictions(files: Mapping[str, Path], tag: str) -> list[str]:
    """Files that are named for another release than they were imported as; a slash cannot stand in a name."""
    named = [
        (name, match[1])
        for name in files
        for pattern in (_BUILD_INFO, _TARBALL, _MEASUREMENT)
        if (match := pattern.fullmatch(name))
    ]
    return [
        f"The release was imported as tag {tag}, {name} is named for {found}."
        for name, found in named
        if found != tag.replace("/", "-")
    ]
