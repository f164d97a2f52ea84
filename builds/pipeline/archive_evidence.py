"""Proving that a signed archive index names a package's digest.

The chain: gpgv verifies InRelease against a keyring we name; InRelease names the digest of
Packages; Packages names the digest of each .deb (Debian Repository Format). Both
are kept in the material store, so the proof outlives the mirror. Nothing here believes the lock.

Valid-Until is not looked at: the question is what the archive once vouched for, not what is current.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, MalformedInput
from builds.domain.materials import LockedIndex, LockedPackage, MaterialsLock
from builds.domain.origins import Authenticity, SignedIndex
from builds.pipeline.material_store import MaterialDamaged, MaterialStore
from builds.pipeline.mirror import APT_HELPER, Mirror, MirrorUnreachable
from builds.pipeline.process import run

MAX_RELEASE_BYTES = 4 * 1024 * 1024
MAX_PACKAGES_BYTES = 512 * 1024 * 1024
_GPGV_SECONDS = 60.0
_FETCH_SECONDS = 300.0
_CHUNK = 4 * 1024 * 1024
_SHA256_LINE = re.compile(r" ([0-9a-f]{64}) +([0-9]{1,12}) ([!-~]+)")
# RFC 4880, 9.4: SHA256, SHA384, SHA512, SHA224 is left out as MD5, SHA1 and RIPE-MD/160 are.
_STRONG_HASHES = frozenset({"8", "9", "10"})
_BAD_STATUS = frozenset({"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NO_PUBKEY", "NODATA"})
# Fields of a VALIDSIG line (gnupg's doc/DETAILS), counted from the keyword.
_HASH_FIELD, _PRIMARY_KEY_FIELD = 8, 10


def unchecked() -> None:
    """The ``check`` of callers whom nobody cancels."""


class IndexRefused(MalformedInput):
    """An archive index whose signature or contents do not hold."""

    code: ClassVar[str] = "index-refused"
    default_todo: ClassVar[str] = "Check the archive's keyring on this machine; treat the mirror as suspect."


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file that an InRelease names: uncompressed or compressed Packages, by sha256 hex and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class VerifiedRelease:
    """An InRelease with good signatures: both names of its suite, its date, and the files it names."""

    suite: str
    codename: str
    date: datetime
    sha256: str
    signed_by: tuple[str, ...]
    files: Mapping[str, IndexFile]

    def speaks_for(self, suite: str) -> bool:
        return suite in {self.suite, self.codename}

    def as_index(self, suite: str) -> SignedIndex:
        return SignedIndex(suite, Digest.sha256(self.sha256), self.date, self.signed_by)


@dataclass(frozen=True, slots=True)
class PackageEntry:
    """The fields of one stanza of Packages that a lock speaks of; ``size`` in bytes."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    path: str
    depends: str

    @property
    def claim(self) -> tuple[str, str, str, str, int, str]:
        """What a lock entry must repeat exactly."""
        return self.name, self.version, self.architecture, self.sha256, self.size, self.path


def packages_name(component: str, architecture: str) -> str:
    """The name of an uncompressed Packages file as InRelease has it."""
    return f"{component}/binary-{architecture}/Packages"


def verify_release(data: bytes, keyring: Path, check: Callable[[], None] = unchecked) -> VerifiedRelease:
    """Verify InRelease bytes with gpgv against ``keyring`` and read what was signed, else ``IndexRefused``.

    Every signature must be good and of a known, valid key with SHA-2; the text is what gpgv hands
    out, so that nothing around the signed part is ever read.
    """
    where = f"InRelease sha256:{hashlib.sha256(data).hexdigest()}"
    if not keyring.is_file():
        raise IndexRefused(f"there is no keyring {keyring}", where=where)
    with tempfile.TemporaryDirectory(prefix="tee-portal-gpgv-") as directory:
        signed, text = Path(directory, "InRelease"), Path(directory, "text")
        signed.write_bytes(data)
        finished = run(
            [
                "gpgv",
                "--quiet",
                "--status-fd",
                "1",
                "--keyring",
                str(keyring.resolve()),
                "--output",
                str(text),
                str(signed),
            ],
            check=check,
            timeout=_GPGV_SECONDS,
            overrides={"LC_ALL": "C.UTF-8", "GNUPGHOME": directory},
        )
        keys = _good_keys(finished.stdout)
        if finished.exit_code != 0 or not keys or not text.is_file():
            raise IndexRefused(_why_refused(finished.stdout), where=where)
        content = text.read_bytes()
    return _read_release(content, hashlib.sha256(data).hexdigest(), keys, where)


def _good_keys(status: str) -> tuple[str, ...]:
    """Primary key fingerprints of VALIDSIG lines; none when any signature is not good (gnupg's doc/DETAILS)."""
    keys: set[str] = set()
    for line in status.splitlines():
        words = line.removeprefix("[GNUPG:] ").split(" ")
        if words[0] in _BAD_STATUS:
            return ()
        if words[0] == "VALIDSIG":
            if len(words) <= _PRIMARY_KEY_FIELD or words[_HASH_FIELD] not in _STRONG_HASHES:
                return ()
            keys.add(words[_PRIMARY_KEY_FIELD])
    return tuple(sorted(keys))


def _why_refused(status: str) -> str:
    for line in status.splitlines():
        words = line.removeprefix("[GNUPG:] ").split(" ")
        if words[0] in _BAD_STATUS:
            return f"no valid signature by the archive's keyring (gpgv: {' '.join(words)[:120]})"
    return "no valid signature by the archive's keyring"


def _read_release(content: bytes, sha256: str, keys: tuple[str, ...], where: str) -> VerifiedRelease:
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise IndexRefused("it is not text", where=where) from error
    fields: dict[str, str] = {}
    files: dict[str, IndexFile] = {}
    section = ""
    for line in lines:
        if line.startswith(" "):
            if section == "SHA256" and (match := _SHA256_LINE.fullmatch(line)):
                files[match[3]] = IndexFile(match[1], int(match[2]))
            continue
        section, _, value = line.partition(":")
        if section in fields:
            raise IndexRefused(f"it has two fields {section[:40]!r}", where=where)
        fields[section] = value.strip()
    suite, codename = fields.get("Suite", ""), fields.get("Codename", "")
    try:
        date = parsedate_to_datetime(fields.get("Date", "")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise IndexRefused("it has no readable Date", where=where) from error
    return VerifiedRelease(suite or codename, codename or suite, date, sha256, keys, files)


def read_packages(file: IO[bytes], wanted: Collection[str] | None = None) -> Iterator[PackageEntry]:
    """Stanzas of a Packages file, streamed; with ``wanted``, only those of these package names.

    ``IndexRefused`` for a stanza that is asked for and lacks a field.
    """
    names = None if wanted is None else {name.encode() for name in wanted}
    rest = b""
    while chunk := file.read(_CHUNK):
        whole, separator, tail = (rest + chunk).rpartition(b"\n\n")
        rest = tail if separator else whole + tail
        if separator:
            yield from _stanzas(whole, names)
    yield from _stanzas(rest, names)


def _stanzas(block: bytes, names: set[bytes] | None) -> Iterator[PackageEntry]:
    for stanza in block.split(b"\n\n"):
        text = stanza.lstrip(b"\n")
        if not text:
            continue
        if not text.startswith(b"Package: "):
            raise IndexRefused("a stanza of Packages does not begin with its package's name", where="Packages")
        if names is None or text[9:].partition(b"\n")[0] in names:
            yield _entry(text)


def _entry(stanza: bytes) -> PackageEntry:
    fields: dict[str, str] = {}
    for line in stanza.decode("utf-8", "replace").split("\n"):
        key, separator, value = line.partition(": ")
        if separator and not line.startswith((" ", "\t")):
            fields.setdefault(key, value)
    try:
        depends = ", ".join(filter(None, (fields.get("Pre-Depends", ""), fields.get("Depends", ""))))
        return PackageEntry(
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            sha256=fields["SHA256"],
            size=int(fields["Size"]),
            path=fields["Filename"],
            depends=depends,
        )
    except (KeyError, ValueError) as error:
        raise IndexRefused(
            f"the stanza of {fields.get('Package', '?')[:100]} is incomplete: {error}", where="Packages"
        ) from error


def authenticate(
    lock: MaterialsLock,
    store: MaterialStore,
    keyring: Path,
    *,
    mirror: Mirror | None = None,
    check: Callable[[], None] = unchecked,
) -> dict[str, Authenticity]:
    """For each package's and download's sha256 (hex), whether a signed index names exactly this file.

    The lock only says where to look: every signature and digest on the way is checked here. Evidence
    comes from the store; what is not there is fetched from ``mirror`` (None: not), whose current
    index may be newer than the locked one and then is the one that is named. Never raises for
    missing or bad evidence: the reason is in the answer.
    """
    found: dict[str, Authenticity] = {}
    for index in lock.indexes:
        claimed = [package for package in lock.packages if package.suite == index.suite]
        name = packages_name(index.component, lock.architecture)
        for sha256, answer in _judge_suite(index, name, claimed, store, keyring, mirror=mirror, check=check).items():
            if sha256 not in found or answer.authenticated:
                found[sha256] = answer
    for package in lock.packages:
        found.setdefault(package.sha256, Authenticity.unauthenticated("the lock claims none for it"))
    for download in lock.downloads:
        found[download.sha256] = Authenticity.unauthenticated("it is a download, pinned by digest only")
    return found


def _judge_suite(
    index: LockedIndex,
    name: str,
    packages: Sequence[LockedPackage],
    store: MaterialStore,
    keyring: Path,
    *,
    mirror: Mirror | None,
    check: Callable[[], None],
) -> dict[str, Authenticity]:
    try:
        release, path = _stored_evidence(index, name, store, keyring, check)
    except (FileNotFoundError, MaterialDamaged) as error:
        state = "damaged" if isinstance(error, MaterialDamaged) else "absent"
        reason = f"its evidence, the index of {index.suite} that the lock names, is {state}"
        if mirror is None:
            return _all(packages, f"{reason} in the material store")
        try:
            release, path = fetch_evidence(index.suite, name, store, keyring, mirror=mirror, check=check)
        except (IndexRefused, MirrorUnreachable, LimitExceeded, MaterialDamaged) as failure:
            return _all(packages, f"{reason}, and the mirror's current one cannot be used: {failure.what}")
    except (IndexRefused, LimitExceeded) as error:
        return _all(packages, f"the index of {index.suite} was refused: {error.what}")
    return _judge(index.suite, release, path, packages)


def _judge(
    suite: str, release: VerifiedRelease, path: Path, packages: Sequence[LockedPackage]
) -> dict[str, Authenticity]:
    try:
        with path.open("rb") as file:
            named = {entry.claim for entry in read_packages(file, {package.name for package in packages})}
    except IndexRefused as error:
        return _all(packages, f"the index of {suite} was refused: {error.what}")
    dated = f"{suite} of {release.date:%Y-%m-%d %H:%M} UTC"
    refusal = f"the signed index of {dated} does not name this package with this digest"
    return {
        package.sha256: Authenticity.by(release.as_index(suite))
        if _claim(package) in named
        else Authenticity.unauthenticated(refusal)
        for package in packages
    }


def _claim(package: LockedPackage) -> tuple[str, str, str, str, int, str]:
    return package.name, package.version, package.architecture, package.sha256, package.size, package.path


def _all(packages: Sequence[LockedPackage], reason: str) -> dict[str, Authenticity]:
    return {package.sha256: Authenticity.unauthenticated(reason) for package in packages}


def _stored_evidence(
    index: LockedIndex, name: str, store: MaterialStore, keyring: Path, check: Callable[[], None]
) -> tuple[VerifiedRelease, Path]:
    """The locked InRelease and Packages from the store, held against each other and against the lock."""
    stored = store.verified(index.release_digest)
    if stored.stat().st_size > MAX_RELEASE_BYTES:
        raise IndexRefused(f"it is larger than {MAX_RELEASE_BYTES} bytes", where=index.suite)
    release = verify_release(stored.read_bytes(), keyring, check)
    where = f"InRelease {index.release_digest}"
    if not release.speaks_for(index.suite):
        raise IndexRefused(f"it is of {release.codename}, not of {index.suite}", where=where)
    if release.date != index.release_date:
        raise IndexRefused(
            f"it is of {release.date.isoformat()}, the lock says {index.release_date.isoformat()}", where=where
        )
    named = _named(release, name, where)
    if named.sha256 != index.packages_sha256:
        raise IndexRefused(f"it names another {name} than the lock", where=where)
    return release, store.verified(Digest.sha256(named.sha256))


def _named(release: VerifiedRelease, name: str, where: str) -> IndexFile:
    if (named := release.files.get(name)) is None:
        raise IndexRefused(f"it names no {name}", where=where)
    if named.size > MAX_PACKAGES_BYTES:
        raise LimitExceeded(f"its {name} is larger than {MAX_PACKAGES_BYTES} bytes", where=where)
    return named


def fetch_evidence(
    suite: str, name: str, store: MaterialStore, keyring: Path, *, mirror: Mirror, check: Callable[[], None]
) -> tuple[VerifiedRelease, Path]:
    """The mirror's current InRelease and Packages of a suite, verified and put into the store.

    Raises ``IndexRefused``, ``MirrorUnreachable``, ``LimitExceeded``, ``MaterialDamaged``.
    """
    with tempfile.TemporaryDirectory(prefix="tee-portal-index-") as directory:
        fetched = Path(directory, "InRelease")
        _download(mirror, f"dists/{suite}/InRelease", fetched, None, check)
        if fetched.stat().st_size > MAX_RELEASE_BYTES:
            raise LimitExceeded(f"InRelease of {suite} is larger than {MAX_RELEASE_BYTES} bytes", where=mirror.base)
        data = fetched.read_bytes()
        release = verify_release(data, keyring, check)
        where = f"InRelease sha256:{release.sha256}"
        if not release.speaks_for(suite):
            raise IndexRefused(f"it is of {release.codename}, not of {suite}", where=where)
        digest = Digest.sha256(_named(release, name, where).sha256)
        if not store.has(digest):
            compressed = _named(release, f"{name}.xz", where)
            packed = Path(directory, "Packages.xz")
            _download(mirror, f"dists/{suite}/{name}.xz", packed, compressed.sha256, check)
            _store_unpacked(packed, digest, store)
    store.add_bytes(data)
    return release, store.verified(digest)


def _store_unpacked(packed: Path, digest: Digest, store: MaterialStore) -> None:
    """Decompress into the store; the digests of both forms were signed, so this is no bomb of the mirror's."""
    try:
        with lzma.open(packed) as stream:
            store.add_stream(stream, digest)
    except (lzma.LZMAError, EOFError) as error:
        raise IndexRefused("its Packages.xz cannot be decompressed", where=str(digest)) from error


def _download(mirror: Mirror, path: str, target: Path, sha256: str | None, check: Callable[[], None]) -> None:
    command = [APT_HELPER, "-oAPT::Sandbox::User=root", "-oAcquire::Retries=1", "download-file"]
    command += [f"{mirror.base}/{path}", str(target)]
    if sha256 is not None:
        command.append(f"SHA256:{sha256}")
    finished = run(command, check=check, timeout=_FETCH_SECONDS, overrides={"LC_ALL": "C.UTF-8"})
    if finished.exit_code != 0 or not target.is_file():
        raise MirrorUnreachable(
            f"could not fetch {path}: {finished.stderr.strip()[:300] or 'no answer'}", where=mirror.base
        )
