"""The content-addressed store of materials: what the archive may forget, the portal keeps.

Layout: ``<root>/sha256/<2 hex>/<64 hex>``. Files are added by atomic rename and checked on use.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import DiskFull, MalformedInput
from builds.domain.materials import LockedPackage
from builds.pipeline.mirror import Mirror

_CHUNK = 1024 * 1024


class MaterialDamaged(MalformedInput):
    """Bytes that do not hash to the digest they are filed or locked under."""

    code: ClassVar[str] = "material-damaged"
    default_todo: ClassVar[str] = "Ask for the rebuild again: the damaged copy was set aside and is fetched anew."


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
            path.replace(path.with_suffix(".damaged"))
            raise MaterialDamaged(f"the stored file hashes to {found} and was set aside", where=str(path))
        return path

    def add_file(self, source: Path, digest: Digest) -> Path:
        """Copy a file in under ``digest``; ``MaterialDamaged`` when it does not hash to it."""
        with source.open("rb") as file:
            return self.add_stream(file, digest)

    def add_bytes(self, data: bytes) -> Digest:
        """Store bytes under their own digest."""
        digest = Digest.sha256(hashlib.sha256(data).hexdigest())
        if not self.has(digest):
            with self._temporary(digest) as (file, commit):
                file.write(data)
                commit()
        return digest

    def add_stream(self, stream: IO[bytes], digest: Digest) -> Path:
        """Store a stream under ``digest`` after checking that it hashes to it."""
        hasher = hashlib.sha256()
        with self._temporary(digest) as (file, commit):
            while chunk := stream.read(_CHUNK):
                hasher.update(chunk)
                file.write(chunk)
            if hasher.hexdigest() != digest.hex:
                raise MaterialDamaged(f"the bytes hash to sha256:{hasher.hexdigest()}, not {digest}", where=str(digest))
            commit()
        return self.path(digest)

    def ensure(self, packages: Iterable[LockedPackage], mirror: Mirror, check: Callable[[], None]) -> int:
        """Have every package, from the store first, then the mirror; returns how many were fetched.

        Exactly the locked digests, never a newer version. Raises ``MaterialGone`` naming the first
        package that is nowhere to be had, ``MirrorUnreachable``, or what ``check`` raises.
        """
        missing = []
        for package in packages:
            check()
            try:
                self.verified(package.digest)
            except (FileNotFoundError, MaterialDamaged):
                missing.append(package)
        if not missing:
            return 0
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.root, prefix="fetch-") as directory:
            for package, path in mirror.download(missing, Path(directory), check):
                self.add_file(path, package.digest)
                path.unlink()
        return len(missing)

    @contextmanager
    def _temporary(self, digest: Digest) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
        """A file beside its destination; ``commit`` makes it appear there, otherwise it goes away."""
        final = self.path(digest)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=final.parent, prefix=".new-", delete=False) as file:
                temporary = Path(file.name)

                def commit() -> None:
                    file.flush()
                    os.fsync(file.fileno())
                    temporary.replace(final)

                try:
                    yield file, commit
                finally:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFull("no space left in the material store", where=str(self.root)) from error
            raise
