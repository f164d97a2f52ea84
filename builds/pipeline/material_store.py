"""The content-addressed store of materials: what the archive may forget, the portal keeps.

Layout: ``<root>/sha256/<2 hex>/<64 hex>``; ``contents/`` and ``derived/`` hold what can be computed
again from it. Files are added by atomic rename, read-only, and hashed when added and when used.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import DiskFull, MalformedInput
from builds.domain.materials import LockedPackage
from builds.pipeline.mirror import MaterialGone, Mirror, MirrorUnreachable

__all__ = ["MaterialDamaged", "MaterialGone", "MaterialStore", "MirrorUnreachable", "Progress", "atomic_file"]

_CHUNK = 1024 * 1024
_READ_ONLY = 0o444
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

type Progress = Callable[[int, int, str], None]
"""Called with how many of how many are done, and a phrase about the newest one."""


class MaterialDamaged(MalformedInput):
    """Bytes that do not hash to the digest they are filed or locked under."""

    code: ClassVar[str] = "material-damaged"
    default_todo: ClassVar[str] = "Ask for the rebuild again: the damaged copy was set aside and is fetched anew."


def silent(done: int, total: int, what: str) -> None:
    """A ``Progress`` that tells nobody."""


@contextmanager
def named_disk_errors(root: Path, what: str) -> Iterator[None]:
    """Turn a full file system or quota into ``DiskFull``; other operating system errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(f"no space left {what}", where=str(root)) from error


@contextmanager
def atomic_file(final: Path) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
    """A new file beside ``final``; the yielded ``commit`` makes it appear there whole, else it goes away.

    Two processes may do this at once: both write the whole file, the last rename stays.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=final.parent, prefix=".new-", delete=False) as file:
        temporary = Path(file.name)

        def commit() -> None:
            file.flush()
            os.fchmod(file.fileno(), _READ_ONLY)
            os.fsync(file.fileno())
            temporary.replace(final)
            _sync_directory(final.parent)

        try:
            yield file, commit
        finally:
            temporary.unlink(missing_ok=True)


class MaterialStore:
    """Files by sha256. Safe for several processes at once: a file appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Where the file of this digest lies, whether or not it is there."""
        return self.root / digest.algorithm / digest.hex[:2] / digest.hex

    def has(self, digest: Digest) -> bool:
        return self.path(digest).is_file()

    def verified(self, digest: Digest) -> Path:
        """The path of a stored file after hashing it; a damaged one is set aside and named.

        Raises ``FileNotFoundError`` when it is not stored and ``MaterialDamaged`` when it was altered.
        """
        path = self.path(digest)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest.hex:
            with suppress(FileNotFoundError):  # another process set it aside first
                path.replace(path.with_suffix(".damaged"))
            raise MaterialDamaged(f"the stored file hashes to {found} and was set aside", where=str(path))
        return path

    def add_file(self, source: Path, digest: Digest) -> Path:
        """Copy a file in under ``digest``; ``MaterialDamaged`` when it does not hash to it."""
        with source.open("rb") as file:
            return self.add_stream(file, digest)

    def add_bytes(self, data: bytes) -> Digest:
        """Store bytes under their own digest; a damaged copy that lies there is replaced."""
        digest = Digest.sha256(hashlib.sha256(data).hexdigest())
        with suppress(FileNotFoundError, MaterialDamaged):
            self.verified(digest)
            return digest
        with named_disk_errors(self.root, "in the material store"), atomic_file(self.path(digest)) as (file, commit):
            file.write(data)
            commit()
        return digest

    def add_stream(self, stream: IO[bytes], digest: Digest) -> Path:
        """Store a stream under ``digest`` after checking that it hashes to it."""
        hasher = hashlib.sha256()
        final = self.path(digest)
        with named_disk_errors(self.root, "in the material store"), atomic_file(final) as (file, commit):
            while chunk := stream.read(_CHUNK):
                hasher.update(chunk)
                file.write(chunk)
            if hasher.hexdigest() != digest.hex:
                raise MaterialDamaged(f"the bytes hash to sha256:{hasher.hexdigest()}, not {digest}", where=str(digest))
            commit()
        return final

    def ensure(
        self,
        packages: Iterable[LockedPackage],
        mirror: Mirror,
        check: Callable[[], None],
        progress: Progress = silent,
    ) -> int:
        """Have every package, from the store first, then the mirror; returns how many were fetched.

        Exactly the locked digests, never a newer version. Raises ``MaterialGone`` naming the first
        package that is nowhere to be had, ``MirrorUnreachable``, ``DiskFull``, or what ``check``
        raises. What was fetched before that stays in the store.
        """
        wanted = list(packages)
        missing = []
        for package in wanted:
            check()
            try:
                self.verified(package.digest)
            except FileNotFoundError:
                missing.append(package)
            except MaterialDamaged:
                missing.append(package)
                progress(0, len(wanted), f"{package.label}: the stored copy was damaged and is set aside")
        if missing:
            self._fetch(missing, mirror, check, progress)
        return len(missing)

    def _fetch(
        self, missing: list[LockedPackage], mirror: Mirror, check: Callable[[], None], progress: Progress
    ) -> None:
        with named_disk_errors(self.root, "while fetching materials"):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix="fetch-") as directory:
                try:
                    for done, (package, path) in enumerate(mirror.download(missing, Path(directory), check), start=1):
                        check()
                        self.add_file(path, package.digest)
                        path.unlink()
                        progress(done, len(missing), package.label)
                except MirrorUnreachable as error:
                    # apt-helper only says that a transfer failed; a full disk looks like that too.
                    if shutil.disk_usage(self.root).free < max(package.size for package in missing):
                        raise DiskFull("no space left while fetching materials", where=str(self.root)) from error
                    raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
