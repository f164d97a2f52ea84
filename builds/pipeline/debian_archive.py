"""Debian's archive: locking current versions, with the evidence that a signed index names them.

A private apt per suite resolves names; the host's own apt state is never read or written, except
for its ``Acquire`` options (proxies, certificates) and, when no mirror is configured, its address.
``builds.pipeline.archive_evidence`` verifies; here is what needs apt.
"""

from __future__ import annotations

import fnmatch
import hashlib
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput
from builds.domain.materials import LockedIndex, LockedPackage, MaterialsLock, merge_groups
from builds.domain.recipe import RECIPE_FILE, MaterialGroup, MetaPackage
from builds.pipeline.archive_evidence import (
    IndexRefused,
    PackageEntry,
    VerifiedRelease,
    authenticate,
    packages_name,
    read_packages,
    verify_release,
)
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import APT_HELPER, Mirror, MirrorUnreachable
from builds.pipeline.process import Finished, run

__all__ = [
    "AptState",
    "IndexRefused",
    "PackageUnknown",
    "authenticate",
    "lock_groups",
    "read_packages",
    "verify_release",
]

ARCHITECTURE = "amd64"
COMPONENT = "main"
_APT_SECONDS = 600.0
_MAX_PRINTED_BYTES = 60 * 1024
"""``process.run`` keeps 64 KiB of output; a longer list of packages would be cut without a word."""


class PackageUnknown(MalformedInput):
    """The archive has no such package, or not in a set that fits together."""

    code: ClassVar[str] = "package-unknown"
    default_todo: ClassVar[str] = "Correct the name or suite in the recipe's material groups."


class AptState:
    """A private apt of one suite: its own configuration, sources, lists and empty dpkg status."""

    def __init__(self, directory: Path, suite: str, mirror: Mirror, keyring: Path, check: Callable[[], None]) -> None:
        self._directory = directory
        self._check = check
        self.suite = suite
        for part in ("state/lists/partial", "cache/archives/partial", "empty"):
            (directory / part).mkdir(parents=True)
        (directory / "status").touch()
        (directory / "sources.list").write_text(
            f"deb [arch={ARCHITECTURE} signed-by={keyring.resolve()}] {mirror.base} {suite} {COMPONENT}\n",
            encoding="utf-8",
        )
        (directory / "apt.conf").write_text(self._configuration(), encoding="utf-8")
        updated = self._run("apt-get", "update", "-q", "--error-on=any")
        if updated.exit_code != 0 or not self._list("InRelease"):
            raise _update_error(updated, suite, mirror)

    def release(self) -> bytes:
        """InRelease as it came."""
        return self._list("InRelease")[0].read_bytes()

    def unpack_packages(self, target: Path) -> None:
        """Write Packages, uncompressed, to ``target``."""
        lists = self._list(f"{COMPONENT}_binary-{ARCHITECTURE}_Packages*")
        with target.open("wb") as file:
            subprocess.run([APT_HELPER, "cat-file", str(lists[0])], stdout=file, check=True, timeout=_APT_SECONDS)

    def choose(self, names: Sequence[str], *, dependencies: bool) -> dict[str, str]:
        """What apt would fetch for ``names``, with their dependencies or alone: sha256 hex to package name.

        Recommended packages are left out. ``PackageUnknown`` when apt finds no solution.
        """
        command = ["install", "-y", "--no-install-recommends"] if dependencies else ["download"]
        listed = self._run("apt-get", command[0], "--print-uris", "-qq", *command[1:], "--", *names)
        if listed.exit_code != 0:
            lines = [*listed.stderr.splitlines(), *listed.stdout.splitlines()]
            detail = " ".join(line.strip() for line in lines if line.startswith("E:") or "epends:" in line)
            raise PackageUnknown(f"apt cannot resolve {', '.join(names)[:300]}: {detail[:400]}", where=self.suite)
        if len(listed.stdout.encode()) > _MAX_PRINTED_BYTES:
            raise PackageUnknown("the group resolves to more packages than one group may have", where=self.suite)
        return dict(_printed(line) for line in listed.stdout.splitlines() if line.startswith("'"))

    def _list(self, suffix: str) -> list[Path]:
        return sorted((self._directory / "state/lists").glob(f"*_{suffix}"))

    def _configuration(self) -> str:
        base = self._directory
        options = {
            "Dir::State": base / "state",
            "Dir::State::status": base / "status",
            "Dir::Cache": base / "cache",
            "Dir::Etc::sourcelist": base / "sources.list",
            "Dir::Etc::sourceparts": base / "empty",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": base / "empty",
            "Dir::Etc::trusted": "/dev/null",
            "Dir::Etc::trustedparts": base / "empty",
            "Dir::Etc::preferencesparts": base / "empty",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Log": base / "empty",
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures": ARCHITECTURE,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "1",
            "Acquire::ForceHash": "SHA256",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::AllowWeakRepositories": "false",
        }
        return self._host_transport() + "".join(f'{name} "{value}";\n' for name, value in options.items())

    def _host_transport(self) -> str:
        """How this host reaches the network and how old an index it accepts, as apt.conf text."""
        dumped = run(["apt-config", "dump"], check=self._check, timeout=_APT_SECONDS, overrides={"LC_ALL": "C.UTF-8"})
        wanted = ("Acquire::http", "Acquire::ftp", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
        return "".join(f"{line}\n" for line in dumped.stdout.splitlines() if line.startswith(wanted))

    def _run(self, *command: str) -> Finished:
        # The configuration comes before the host's files and points apt away from them.
        overrides = {"LC_ALL": "C.UTF-8", "APT_CONFIG": str(self._directory / "apt.conf")}
        return run(command, check=self._check, timeout=_APT_SECONDS, overrides=overrides)


def _update_error(updated: Finished, suite: str, mirror: Mirror) -> MirrorUnreachable | IndexRefused:
    text = updated.stderr + updated.stdout
    lines = [line for line in text.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    detail = " ".join(lines)[:400] or text.strip()[:400]
    if "signature" in text or "NO_PUBKEY" in text or "is not signed" in text:
        return IndexRefused(f"apt refuses the signature of suite {suite}: {detail}", where=mirror.base)
    return MirrorUnreachable(f"apt could not read suite {suite}: {detail}", where=mirror.base)


def _printed(line: str) -> tuple[str, str]:
    """The digest and package name of a line of --print-uris, ``'address' name_version_arch.deb size SHA256:hex``."""
    _, _, rest = line.removeprefix("'").partition("' ")
    name = rest.partition("_")[0].replace("%2b", "+")
    algorithm, _, value = rest.rpartition(" ")[2].partition(":")
    if algorithm != "SHA256":
        raise PackageUnknown("the archive names no SHA256 for this package", where=name)
    return value, name


def lock_groups(
    groups: Sequence[MaterialGroup],
    store: MaterialStore,
    mirror: Mirror,
    keyring: Path,
    check: Callable[[], None],
) -> MaterialsLock:
    """Resolve every group to current versions; the signed indexes go into the store as evidence.

    Each group is resolved on its own, in its own suite only. ``locked_at`` is the date of the newest
    index used, so that locking twice against the same archive gives the same bytes. Raises ``MirrorUnreachable``,
    ``IndexRefused``, ``PackageUnknown``, ``DiskFull``, or what ``check`` raises.
    """
    if not groups:
        raise PackageUnknown("the recipe names no material group", where=RECIPE_FILE)
    indexes: list[LockedIndex] = []
    packages: list[LockedPackage] = []
    for suite in sorted({group.suite for group in groups}):
        with tempfile.TemporaryDirectory(prefix="tee-portal-apt-") as directory:
            apt = AptState(Path(directory), suite, mirror, keyring, check)
            release, path = _keep_evidence(apt, store, keyring, Path(directory, "Packages"), check)
            indexes.append(_locked_index(suite, release))
            for group in (group for group in groups if group.suite == suite):
                packages += _resolve(group, apt, path)
    return MaterialsLock(
        locked_at=max(index.release_date for index in indexes),
        architecture=ARCHITECTURE,
        indexes=indexes,
        packages=merge_groups(packages),
    )


def _locked_index(suite: str, release: VerifiedRelease) -> LockedIndex:
    name = packages_name(COMPONENT, ARCHITECTURE)
    return LockedIndex(
        suite=suite,
        component=COMPONENT,
        release_sha256=release.sha256,
        release_date=release.date,
        signed_by=list(release.signed_by),
        packages_sha256=release.files[name].sha256,
        packages_path=f"dists/{suite}/{name}",
    )


def _keep_evidence(
    apt: AptState, store: MaterialStore, keyring: Path, unpacked: Path, check: Callable[[], None]
) -> tuple[VerifiedRelease, Path]:
    data = apt.release()
    release = verify_release(data, keyring, check)
    name = packages_name(COMPONENT, ARCHITECTURE)
    where = f"suite {apt.suite}"
    if not release.speaks_for(apt.suite):
        raise IndexRefused(f"the mirror's index is of {release.codename}", where=where)
    apt.unpack_packages(unpacked)
    with unpacked.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if name not in release.files or release.files[name].sha256 != found:
        raise IndexRefused("Packages does not hash to what InRelease says", where=where)
    store.add_bytes(data)
    return release, store.add_file(unpacked, Digest.sha256(found))


def _resolve(group: MaterialGroup, apt: AptState, packages: Path) -> list[LockedPackage]:
    names = [_follow(entry, apt, packages) for entry in group.packages]
    chosen = apt.choose(names, dependencies=group.dependencies)
    with packages.open("rb") as file:
        named = read_packages(file, set(chosen.values()))
        found = {entry.sha256: entry for entry in named if entry.sha256 in chosen}
    if absent := chosen.keys() - found.keys():
        raise PackageUnknown(f"apt chose {len(absent)} files that the signed index does not name", where=apt.suite)
    return [_locked(entry, apt.suite, group.name) for entry in found.values()]


def _locked(entry: PackageEntry, suite: str, group: str) -> LockedPackage:
    return LockedPackage(
        name=entry.name,
        version=entry.version,
        architecture=entry.architecture,
        suite=suite,
        sha256=entry.sha256,
        size=entry.size,
        path=entry.path,
        groups=[group],
    )


def _follow(wanted: str | MetaPackage, apt: AptState, packages: Path) -> str:
    """A package's own name, or the one dependency that a metapackage stands for."""
    if isinstance(wanted, str):
        return wanted
    chosen = apt.choose([wanted.metapackage], dependencies=False)
    with packages.open("rb") as file:
        entries = [entry for entry in read_packages(file, {wanted.metapackage}) if entry.sha256 in chosen]
    names = {
        name
        for entry in entries
        for dependency in entry.depends.replace("|", ",").split(",")
        if fnmatch.fnmatchcase(name := dependency.strip().partition(" ")[0].partition(":")[0], wanted.depends)
    }
    if len(names) != 1:
        raise PackageUnknown(
            f"{wanted.metapackage} must depend on exactly one package like {wanted.depends}, found {sorted(names)}",
            where=f"suite {apt.suite}",
        )
    return names.pop()
