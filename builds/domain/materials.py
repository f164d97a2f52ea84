"""``materials.lock`` (format 1): every build input by name, version and digest, and who vouched for it.

TOML with ``[[indexes]]`` (signed archive indexes that were seen when locking) and ``[[packages]]``.
What the lock says of authenticity is a pointer to evidence, never believed: see
``builds.pipeline.debian_archive.authenticate``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.paths import relative_path
from builds.domain.recipe import first_problem

MAX_LOCK_BYTES = 4 * 1024 * 1024
MAX_PACKAGE_BYTES = 4 * 1024**3


class MalformedLock(MalformedInput):
    """The lock is absent or does not follow format 1."""

    code = "malformed-lock"
    default_todo = "Run lock_materials in the source repository again and cut a new release."


def _pool_path(text: str) -> str:
    try:
        return str(relative_path(text, where="materials.lock"))
    except PortalError as error:
        raise ValueError(error.what) from error


Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]{0,99}$")]
PackageVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+~:-]{1,150}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+/-]{0,79}$")]
PoolPath = Annotated[str, AfterValidator(_pool_path)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LockedIndex(_Frozen):
    """A signed index of an archive, named by the digests of its bytes.

    ``release_sha256`` is of InRelease, ``packages_sha256`` of the uncompressed Packages file.
    """

    suite: Word
    component: Word = "main"
    release_sha256: Sha256Hex
    release_date: str
    packages_sha256: Sha256Hex


class LockedPackage(_Frozen):
    """One binary package. ``suite`` is None when no signed index is claimed to name it."""

    name: PackageName
    version: PackageVersion
    architecture: Word
    suite: Word | None = None
    sha256: Sha256Hex
    size: int = Field(gt=0, le=MAX_PACKAGE_BYTES)
    path: PoolPath
    groups: list[Word] = Field(min_length=1)

    @property
    def digest(self) -> Digest:
        return Digest.sha256(self.sha256)

    @property
    def label(self) -> str:
        """``name version (architecture)``, as errors and pages call it."""
        return f"{self.name} {self.version} ({self.architecture})"


class LockedImage(_Frozen):
    """A base image pinned by digest, for machines with a registry."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]{0,199}$")]
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class MaterialsLock(_Frozen):
    """The whole lock; ``parse_lock`` is the way in."""

    format: Literal[1] = 1
    locked_at: Annotated[datetime, Field(strict=False)]
    indexes: list[LockedIndex] = []
    packages: list[LockedPackage] = Field(default=[], max_length=5000)
    images: list[LockedImage] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen: set[tuple[str, str, str]] = set()
        for package in self.packages:
            key = (package.name, package.version, package.architecture)
            if key in seen:
                raise ValueError(f"{package.label} is locked twice")
            seen.add(key)
        suites = [index.suite for index in self.indexes]
        if len(set(suites)) != len(suites):
            raise ValueError("two indexes have the same suite")
        if unknown := {package.suite for package in self.packages} - {*suites, None}:
            raise ValueError(f"packages name suites without an index: {sorted(str(name) for name in unknown)}")
        return self

    def group(self, name: str) -> tuple[LockedPackage, ...]:
        """The packages of a group, by name; ``MalformedLock`` when it is empty."""
        found = tuple(package for package in self.packages if name in package.groups)
        if not found:
            raise MalformedLock(f"the lock has no package in group {name!r}", where="materials.lock")
        return tuple(sorted(found, key=lambda package: (package.name, package.version)))

    def index_of(self, package: LockedPackage) -> LockedIndex | None:
        """The signed index that the lock claims for a package."""
        return next((index for index in self.indexes if index.suite == package.suite), None)


def parse_lock(data: bytes, *, where: str = "materials.lock") -> MaterialsLock:
    """Read a lock from TOML bytes; ``MalformedLock`` names the first thing that is wrong."""
    if len(data) > MAX_LOCK_BYTES:
        raise MalformedLock(f"the lock is larger than {MAX_LOCK_BYTES} bytes", where=where)
    try:
        return MaterialsLock.model_validate(tomllib.loads(data.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedLock(f"the lock is not TOML: {error}", where=where) from error
    except ValidationError as error:
        raise MalformedLock(first_problem(error), where=where) from error


def render_lock(lock: MaterialsLock) -> bytes:
    """The lock as TOML, the same bytes for the same content: entries sorted, times in UTC."""
    document = lock.model_dump(exclude_none=True)
    document["locked_at"] = lock.locked_at.astimezone(UTC)
    document["indexes"] = sorted(document["indexes"], key=lambda entry: entry["suite"])
    document["images"] = sorted(document["images"], key=lambda entry: entry["name"])
    document["packages"] = sorted(
        ({**entry, "groups": sorted(entry["groups"])} for entry in document["packages"]),
        key=lambda entry: (entry["name"], entry["version"], entry["architecture"]),
    )
    return tomli_w.dumps(document).encode()


def merge_groups(packages: Iterable[LockedPackage]) -> list[LockedPackage]:
    """One entry per package, carrying the groups of all its occurrences."""
    merged: dict[tuple[str, str, str], LockedPackage] = {}
    for package in packages:
        key = (package.name, package.version, package.architecture)
        known = merged.get(key)
        groups = sorted({*package.groups, *(known.groups if known is not None else ())})
        merged[key] = package.model_copy(update={"groups": groups})
    return list(merged.values())
