"""Debian's archive: locking current versions, and proving that a signed index names a digest.

The chain: gpgv verifies InRelease against a keyring we name; InRelease names the digest of
Packages; Packages names the digest of each .deb (Debian Repository Format). InRelease and Packages
are kept in the material store, so the proof outlives the mirror.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput
from builds.domain.materials import LockedIndex, LockedPackage, MaterialsLock, merge_groups
from builds.domain.origins import Authenticity
from builds.domain.recipe import MaterialGroup, MetaPackage
from builds.pipeline.material_store import MaterialDamaged, MaterialStore
from builds.pipeline.mirror import APT_HELPER, Mirror, MirrorUnreachable
from builds.pipeline.process import Finished, run

ARCHITECTURE = "amd64"
_APT_SECONDS = 600.0
_PACKAGES_NAME = f"main/binary-{ARCHITECTURE}/Packages"
_SHA256_LINE = re.compile(r"^ ([0-9a-f]{64})\s+\d+\s+(\S+)$")
_VALIDSIG = re.compile(r"^\[GNUPG:\] VALIDSIG ([0-9A-F]{40})", re.MULTILINE)


class IndexRefused(MalformedInput):
    """An archive index whose signature or contents do not hold."""

    code: ClassVar[str] = "index-refused"
    default_todo: ClassVar[str] = "Check the archive's keyring on this machine; treat the mirror as suspect."


class PackageUnknown(MalformedInput):
    """The archive has no such package."""

    code: ClassVar[str] = "package-unknown"
    default_todo: ClassVar[str] = "Correct the name or suite in the recipe's material groups."


@dataclass(frozen=True, slots=True)
class SignedIndex:
    """A verified InRelease: what it is of, when it was made, and which keys signed it."""

    suite: str
    date: str
    packages_sha256: str
    signed_by: tuple[str, ...]
    release_sha256: str


@dataclass(frozen=True, slots=True)
class PackageEntry:
    """The fields of one stanza of Packages that a lock speaks of."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    path: str
    depends: str


def verify_release(data: bytes, keyring: Path) -> SignedIndex:
    """Verify InRelease bytes with gpgv; only a VALIDSIG of ``keyring`` counts, else ``IndexRefused``."""
    digest = hashlib.sha256(data).hexdigest()
    with tempfile.TemporaryDirectory() as directory:
        text = Path(directory, "text")
        finished = subprocess.run(
            ["gpgv", "--quiet", "--status-fd", "1", "--keyring", str(keyring), "--output", str(text), "-"],
            input=data,
            capture_output=True,
            check=False,
            timeout=60,
        )
        signers = tuple(_VALIDSIG.findall(finished.stdout.decode("utf-8", "replace")))
        if finished.returncode != 0 or not signers or not text.is_file():
            raise IndexRefused("no valid signature by the archive's keyring", where=f"InRelease sha256:{digest}")
        # Only what gpgv wrote out was signed; text around the signed part is not read.
        signed = text.read_text(encoding="utf-8", errors="strict")
    fields = dict(line.split(": ", 1) for line in signed.splitlines() if ": " in line and not line.startswith(" "))
    section = signed.partition("\nSHA256:\n")[2]
    digests: dict[str, str] = {}
    for line in section.splitlines():
        match = _SHA256_LINE.match(line)
        if match is None:
            break
        digests[match.group(2)] = match.group(1)
    if _PACKAGES_NAME not in digests or "Date" not in fields or "Codename" not in fields:
        raise IndexRefused(f"it names no {_PACKAGES_NAME}", where=f"InRelease sha256:{digest}")
    return SignedIndex(fields["Codename"], fields["Date"], digests[_PACKAGES_NAME], signers, digest)


def read_packages(data: bytes, wanted: Iterable[str] | None = None) -> Iterator[PackageEntry]:
    """Stanzas of a Packages file; with ``wanted``, only those of these names."""
    names = None if wanted is None else {f"Package: {name}\n".encode() for name in wanted}
    for stanza in data.split(b"\n\n"):
        if names is not None and stanza.lstrip(b"\n").split(b"\n", 1)[0] + b"\n" not in names:
            continue
        fields: dict[str, str] = {}
        for line in stanza.decode("utf-8", "replace").splitlines():
            key, separator, value = line.partition(": ")
            if separator and not line.startswith(" "):
                fields[key] = value
        if {"Package", "Version", "Architecture", "SHA256", "Size", "Filename"} <= set(fields):
            yield PackageEntry(
                name=fields["Package"],
                version=fields["Version"],
                architecture=fields["Architecture"],
                sha256=fields["SHA256"],
                size=int(fields["Size"]),
                path=fields["Filename"],
                depends=fields.get("Depends", ""),
            )


class AptState:
    """A private apt: its own sources, lists and (empty) dpkg status; the host's is never touched."""

    def __init__(self, directory: Path, suite: str, mirror: Mirror, keyring: Path, check: Callable[[], None]) -> None:
        self._directory = directory
        self._check = check
        self.suite = suite
        for part in ("state/lists/partial", "cache/archives/partial"):
            (directory / part).mkdir(parents=True)
        (directory / "status").touch()
        source = f"deb [arch={ARCHITECTURE} signed-by={keyring}] {mirror.base} {suite} main\n"
        (directory / "sources.list").write_text(source, encoding="utf-8")
        updated = self._run("apt-get", "update")
        if updated.exit_code != 0 or not self._list("InRelease"):
            detail = (updated.stderr or updated.stdout).strip()[:300]
            raise MirrorUnreachable(f"apt could not read suite {suite}: {detail}", where=mirror.base)

    def release(self) -> bytes:
        """InRelease as it came."""
        return self._list("InRelease")[0].read_bytes()

    def packages(self) -> bytes:
        """Packages, uncompressed."""
        lists = self._list(f"main_binary-{ARCHITECTURE}_Packages*")
        return subprocess.run([APT_HELPER, "cat-file", str(lists[0])], capture_output=True, check=True).stdout

    def closure(self, names: Sequence[str]) -> set[str]:
        """File names of ``names`` and everything they depend on, without recommendations."""
        listed = self._run("apt-get", "install", "--print-uris", "-qq", "-y", "--no-install-recommends", *names)
        if listed.exit_code != 0:
            raise PackageUnknown(
                f"apt cannot resolve {', '.join(names)}: {listed.stderr.strip()[:300]}", where=self.suite
            )
        return {
            line.split("'")[1].rsplit("/", 1)[-1].replace("%3a", ":").replace("%2b", "+").replace("%7e", "~")
            for line in listed.stdout.splitlines()
            if line.startswith("'")
        }

    def _list(self, suffix: str) -> list[Path]:
        return sorted((self._directory / "state/lists").glob(f"*_{suffix}"))

    def _run(self, *command: str) -> Finished:
        base = self._directory
        options = {
            "Dir::State": base / "state",
            "Dir::State::status": base / "status",
            "Dir::Cache": base / "cache",
            "Dir::Etc::sourcelist": base / "sources.list",
            "Dir::Etc::sourceparts": "/nonexistent",
            "Dir::Etc::preferencesparts": "/nonexistent",
            "Dir::Etc::preferences": "/nonexistent",
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures": ARCHITECTURE,
            "Acquire::Languages": "none",
            "Acquire::Retries": "1",
            "APT::Sandbox::User": "root",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return run(
            [command[0], *flags, *command[1:]], check=self._check, timeout=_APT_SECONDS, overrides={"LC_ALL": "C.UTF-8"}
        )


def lock_groups(
    groups: Sequence[MaterialGroup],
    store: MaterialStore,
    mirror: Mirror,
    keyring: Path,
    check: Callable[[], None],
) -> MaterialsLock:
    """Resolve every group to current versions; the signed indexes go into the store as evidence.

    ``locked_at`` is the date of the newest index used, so that locking twice against the same
    archive gives the same bytes.
    """
    indexes: dict[str, LockedIndex] = {}
    packages: list[LockedPackage] = []
    for suite in sorted({group.suite for group in groups}):
        with tempfile.TemporaryDirectory(prefix="tee-portal-apt-") as directory:
            apt = AptState(Path(directory), suite, mirror, keyring, check)
            index, data = _keep_evidence(apt, store, keyring)
            indexes[suite] = LockedIndex(
                suite=suite,
                release_sha256=index.release_sha256,
                release_date=index.date,
                packages_sha256=index.packages_sha256,
            )
            for group in (group for group in groups if group.suite == suite):
                packages += _resolve(group, apt, data)
    return MaterialsLock(
        locked_at=max(parsedate_to_datetime(index.release_date) for index in indexes.values()),
        indexes=list(indexes.values()),
        packages=merge_groups(packages),
    )


def _keep_evidence(apt: AptState, store: MaterialStore, keyring: Path) -> tuple[SignedIndex, bytes]:
    release, data = apt.release(), apt.packages()
    index = verify_release(release, keyring)
    if hashlib.sha256(data).hexdigest() != index.packages_sha256:
        raise IndexRefused("Packages does not hash to what InRelease says", where=f"suite {apt.suite}")
    store.add_bytes(release)
    store.add_bytes(data)
    return index, data


def _resolve(group: MaterialGroup, apt: AptState, data: bytes) -> list[LockedPackage]:
    names = [_follow(entry, data, apt.suite) for entry in group.packages]
    if group.dependencies:
        files = apt.closure(names)
        chosen = [entry for entry in read_packages(data) if _file_name(entry) in files]
        if len(chosen) != len(files):
            raise PackageUnknown(
                f"apt chose {len(files)} files, the index names {len(chosen)} of them", where=apt.suite
            )
    else:
        chosen = list(read_packages(data, names))
        if absent := set(names) - {entry.name for entry in chosen}:
            raise PackageUnknown(f"suite {apt.suite} has no {', '.join(sorted(absent))}", where=f"group {group.name}")
    return [
        LockedPackage(
            name=entry.name,
            version=entry.version,
            architecture=entry.architecture,
            suite=apt.suite,
            sha256=entry.sha256,
            size=entry.size,
            path=entry.path,
            groups=[group.name],
        )
        for entry in chosen
    ]


def _file_name(entry: PackageEntry) -> str:
    """The name apt prints for a package: that of its file in the pool."""
    return entry.path.rsplit("/", 1)[-1]


def _follow(entry: str | MetaPackage, data: bytes, suite: str) -> str:
    """A package's own name, or the dependency that a metapackage stands for."""
    if isinstance(entry, str):
        return entry
    for found in read_packages(data, [entry.metapackage]):
        for dependency in found.depends.split(","):
            name = dependency.strip().split(" ")[0]
            if fnmatch.fnmatchcase(name, entry.depends):
                return name
    raise PackageUnknown(f"{entry.metapackage} depends on nothing like {entry.depends}", where=f"suite {suite}")


def authenticate(lock: MaterialsLock, store: MaterialStore, keyring: Path) -> Mapping[str, Authenticity]:
    """For each package's sha256, whether a signed index in the store names exactly this package.

    The lock only says where to look: every signature and digest on the way is checked here.
    """
    found: dict[str, Authenticity] = {}
    for index in lock.indexes:
        packages = [package for package in lock.packages if package.suite == index.suite]
        found.update(_authenticate_suite(index, packages, store, keyring))
    for package in lock.packages:
        found.setdefault(package.sha256, Authenticity(False, "no signed index is named for it"))
    return found


def _authenticate_suite(
    index: LockedIndex, packages: Sequence[LockedPackage], store: MaterialStore, keyring: Path
) -> dict[str, Authenticity]:
    try:
        signed = verify_release(store.verified(Digest.sha256(index.release_sha256)).read_bytes(), keyring)
        data = store.verified(Digest.sha256(signed.packages_sha256)).read_bytes()
    except FileNotFoundError:
        return _none(packages, f"the signed index of {index.suite} that the lock names is not in the material store")
    except (IndexRefused, MaterialDamaged, UnicodeDecodeError) as error:
        return _none(packages, f"the index of {index.suite} was refused: {error}")
    if signed.suite != index.suite:
        return _none(packages, f"the signed index is of {signed.suite}, not of {index.suite}")
    named = {
        (entry.name, entry.version, entry.architecture, entry.sha256, entry.size, entry.path)
        for entry in read_packages(data, {package.name for package in packages})
    }
    sentence = (
        f"the archive's signed index of {signed.suite} of {signed.date} names this digest"
        f" (InRelease sha256:{signed.release_sha256}, signed by {', '.join(signed.signed_by)})"
    )
    result = {}
    for package in packages:
        key = (package.name, package.version, package.architecture, package.sha256, package.size, package.path)
        result[package.sha256] = (
            Authenticity(True, sentence)
            if key in named
            else Authenticity(False, f"the signed index of {signed.suite} of {signed.date} does not name this digest")
        )
    return result


def _none(packages: Sequence[LockedPackage], reason: str) -> dict[str, Authenticity]:
    return {package.sha256: Authenticity(False, reason) for package in packages}
