"""``materials.lock`` (format 1): every build input by name, version and digest, and who vouched for it.

TOML with ``[[indexes]]`` (signed archive indexes that were seen when locking), ``[[packages]]``, and
optionally ``[[images]]`` and ``[[downloads]]``. What the lock says of authenticity is a pointer to
evidence, never believed: see ``builds.pipeline.archive_evidence.authenticate``.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Hashable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput
from builds.domain.frozen import Frozen, Sha256Hex, first_problem, inside_root

LOCK_FILE = "materials.lock"
MAX_LOCK_BYTES = 4 * 1024 * 1024
MAX_PACKAGE_BYTES = 4 * 1024**3
MAX_PACKAGES = 5000

_YEARS = range(1990, 2200)


class MalformedLock(MalformedInput):
    """The lock is absent or does not follow format 1."""

    code = "malformed-lock"
    default_todo = "Run lock_materials in the source repository again and cut a new release."


def _utc_seconds(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"the year {moment.year} is not plausible")
    return moment.astimezone(UTC).replace(microsecond=0)


Fingerprint = Annotated[str, StringConstraints(pattern=r"^([0-9A-F]{40}|[0-9A-F]{64})$")]
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]{0,99}$")]
PackageVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+~:-]{1,150}$")]
Architecture = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+-]{0,79}$")]
# No percent sign, query or fragment: the path becomes part of an address, which a server decodes.
PoolPath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._~:/-]{0,399}$"), AfterValidator(inside_root)
]
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[!-~]{0,1900}$")]
UtcSeconds = Annotated[AwareDatetime, AfterValidator(_utc_seconds)]
Bytes = Annotated[int, Field(gt=0, le=MAX_PACKAGE_BYTES)]


class LockedIndex(Frozen):
    """A signed index of an archive, named by the digests of its bytes.

    ``release_sha256`` is of InRelease, ``packages_sha256`` of the uncompressed Packages file at
    ``packages_path`` under the archive's root; ``signed_by`` are fingerprints of primary keys.
    """

    suite: Word
    component: Word = "main"
    release_sha256: Sha256Hex
    release_date: UtcSeconds
    signed_by: list[Fingerprint] = Field(default=[])
    packages_sha256: Sha256Hex
    packages_path: PoolPath | None = None

    @property
    def release_digest(self) -> Digest:
        return Digest.sha256(self.release_sha256)


class LockedPackage(Frozen):
    """One binary package. ``suite`` is None when no signed index is claimed to name it.

    ``size`` in bytes; ``path`` from the archive's root (Packages' Filename).
    """

    name: PackageName
    version: PackageVersion
    architecture: Architecture
    suite: Word | None = None
    sha256: Sha256Hex
    size: Bytes
    path: PoolPath
    groups: list[Word] = Field(min_length=1, max_length=50)

    @property
    def digest(self) -> Digest:
        return Digest.sha256(self.sha256)

    @property
    def label(self) -> str:
        """``name version (architecture)``, as errors and pages call it."""
        return f"{self.name} {self.version} ({self.architecture})"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What Debian calls one package: name, version and architecture."""
        return self.name, self.version, self.architecture


class LockedImage(Frozen):
    """A base image pinned by digest, for machines with a registry."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]{0,199}$")]
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class LockedDownload(Frozen):
    """A file from anywhere, pinned by digest before the build. No signed index names it: it is opaque."""

    name: PackageName
    url: WebAddress
    sha256: Sha256Hex
    size: Bytes

    @property
    def digest(self) -> Digest:
        return Digest.sha256(self.sha256)


class MaterialsLock(Frozen):
    """The whole lock; ``parse_lock`` is the way in."""

    format: Literal[1] = 1
    locked_at: UtcSeconds
    architecture: Architecture = "amd64"
    indexes: list[LockedIndex] = Field(default=[], max_length=50)
    packages: list[LockedPackage] = Field(default=[], max_length=MAX_PACKAGES)
    images: list[LockedImage] = Field(default=[], max_length=50)
    downloads: list[LockedDownload] = Field(default=[], max_length=MAX_PACKAGES)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("index", ((index.suite, index.component) for index in self.indexes))
        _unique("package", (package.identity for package in self.packages))
        _unique("digest", [*(entry.sha256 for entry in self.packages), *(entry.sha256 for entry in self.downloads)])
        _unique("image", (image.name for image in self.images))
        _unique("download", (download.name for download in self.downloads))
        _unique(
            "group member",
            ((group, entry.name, entry.architecture) for entry in self.packages for group in entry.groups),
        )
        if unknown := {package.suite for package in self.packages} - {*(index.suite for index in self.indexes), None}:
            raise ValueError(f"packages name suites without an index: {sorted(str(name) for name in unknown)}")
        if foreign := {package.architecture for package in self.packages} - {self.architecture, "all"}:
            raise ValueError(f"packages are of other architectures than {self.architecture}: {sorted(foreign)}")
        return self

    @property
    def groups(self) -> frozenset[str]:
        """The names of all groups that any package belongs to."""
        return frozenset(group for package in self.packages for group in package.groups)

    @property
    def materials(self) -> tuple[tuple[str, str], ...]:
        """Everything the lock names, as label and SHA-256 in hex; sorted."""
        packages = ((entry.label, entry.sha256) for entry in self.packages)
        downloads = ((entry.name, entry.sha256) for entry in self.downloads)
        images = ((image.name, image.digest.removeprefix("sha256:")) for image in self.images)
        return tuple(sorted({*packages, *downloads, *images}))

    @property
    def material_digests(self) -> frozenset[str]:
        """SHA-256 of everything the lock names, in hex."""
        return frozenset(sha256 for _, sha256 in self.materials)

    def group(self, name: str) -> tuple[LockedPackage, ...]:
        """The packages of a group, by name; ``MalformedLock`` when it has none."""
        found = (package for package in self.packages if name in package.groups)
        if not (members := tuple(sorted(found, key=lambda package: package.identity))):
            raise MalformedLock(f"the lock has no package in group {name!r}", where=LOCK_FILE)
        return members


def lock_digest(digests: Iterable[str]) -> str:
    """One SHA-256 for a set of materials, in hex: over their sorted hex digests, a line each."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(set(digests))).encode()).hexdigest()


def _unique(kind: str, keys: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for key in keys:
        if key in seen:
            shown = " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
            raise ValueError(f"the {kind} {shown} is locked twice")
        seen.add(key)


def parse_lock(data: bytes, *, where: str = LOCK_FILE, groups: Collection[str] | None = None) -> MaterialsLock:
    """Read a lock from TOML bytes; ``MalformedLock`` names the first thing that is wrong.

    With ``groups`` (the recipe's), a package of any other group is refused too: nothing that the
    recipe does not ask for reaches a build.
    """
    if len(data) > MAX_LOCK_BYTES:
        raise MalformedLock(f"the lock is larger than {MAX_LOCK_BYTES} bytes", where=where)
    try:
        lock = MaterialsLock.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as error:
        raise MalformedLock(first_problem(error), where=where) from error
    except (ValueError, OverflowError, RecursionError) as error:
        # ValueError: not TOML, not UTF-8, or an integer of more digits than Python converts.
        raise MalformedLock(f"the lock is not TOML: {str(error)[:300]}", where=where) from error
    if groups is not None and (unknown := lock.groups - set(groups)):
        raise MalformedLock(f"the lock has packages of groups the recipe does not name: {sorted(unknown)}", where=where)
    return lock


def render_lock(lock: MaterialsLock) -> bytes:
    """The lock as TOML, the same bytes for the same content: entries sorted, times in UTC."""
    packages = [
        {**package.model_dump(exclude_none=True), "groups": sorted(package.groups)}
        for package in sorted(lock.packages, key=lambda package: package.identity)
    ]
    indexes = [
        {**index.model_dump(exclude_none=True), "signed_by": sorted(index.signed_by)}
        for index in sorted(lock.indexes, key=lambda index: (index.suite, index.component))
    ]
    document: dict[str, object] = {
        "format": lock.format,
        "locked_at": lock.locked_at,
        "architecture": lock.architecture,
    }
    lists: dict[str, list[dict[str, object]]] = {
        "indexes": indexes,
        "images": [image.model_dump() for image in sorted(lock.images, key=lambda image: image.name)],
        "downloads": [entry.model_dump() for entry in sorted(lock.downloads, key=lambda entry: entry.name)],
        "packages": packages,
    }
    return tomli_w.dumps({**document, **{name: entries for name, entries in lists.items() if entries}}).encode()


def merge_groups(packages: Iterable[LockedPackage]) -> list[LockedPackage]:
    """One entry per package, carrying the groups of all its occurrences.

    The same package of two suites keeps the first one's suite; two digests for one name, version
    and architecture are ``MalformedLock``.
    """
    merged: dict[tuple[str, str, str], LockedPackage] = {}
    for package in packages:
        known = merged.setdefault(package.identity, package)
        if known.sha256 != package.sha256:
            raise MalformedLock(f"{package.label} has two different digests", where=package.suite or LOCK_FILE)
        groups = sorted({*package.groups, *known.groups})
        merged[package.identity] = known.model_copy(update={"groups": groups})
    return list(merged.values())
