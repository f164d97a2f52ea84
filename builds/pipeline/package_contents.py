"""Digests of the files inside Debian packages and source trees: what outputs are held against for origins."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import stat
import subprocess
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import LimitExceeded
from builds.domain.materials import LockedDownload, LockedPackage
from builds.domain.origins import Authenticity, Candidate, DownloadedFile, PackageFile, SourceFile
from builds.pipeline.deb_stream import MalformedPackage, PackageLimits, open_package
from builds.pipeline.material_store import MaterialStore, atomic_file, named_disk_errors

__all__ = [
    "FileIndex",
    "MalformedPackage",
    "PackagedFile",
    "candidates",
    "index_contents",
    "package_files",
    "read_package",
    "source_files",
]

MAX_SOURCE_FILES = 200_000
_CHUNK = 1024 * 1024
_SPOOLED_BYTES = 32 * _CHUNK
_MAX_DECOMPRESSED_BYTES = 1024**3
_ZSTD_SECONDS = 60.0
_WORKERS = 2
_CACHE_FORMAT = b"tee-portal-contents-1"
_OPENERS: Mapping[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb")),
    ".bz2": bz2.BZ2File,
}


class PackagedFile(NamedTuple):
    """A regular file inside a package: its path, size in bytes and sha256 hex.

    ``decompressed`` marks size and digest as those of what a ``.xz``, ``.gz``, ``.bz2`` or ``.zst`` holds.
    """

    path: str
    size: int
    sha256: str
    decompressed: bool


def package_files(store: MaterialStore, package: LockedPackage, check: Callable[[], None]) -> list[PackagedFile]:
    """The regular files of a stored package; the answer is kept beside the store, since it cannot change.

    Reading it for the first time hashes the package; a damaged answer is computed again.
    """
    cache = store.root / "contents" / f"{package.sha256}.json"
    if (known := _cached(cache)) is not None:
        return known
    files = read_package(store.verified(package.digest), package.label, check)
    body = json.dumps(files, separators=(",", ":")).encode()
    with named_disk_errors(store.root, "in the material store"), atomic_file(cache) as (file, commit):
        file.write(b"%s %s\n%s" % (_CACHE_FORMAT, hashlib.sha256(body).hexdigest().encode(), body))
        commit()
    return files


def _cached(cache: Path) -> list[PackagedFile] | None:
    try:
        header, _, body = cache.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if header != b"%s %s" % (_CACHE_FORMAT, hashlib.sha256(body).hexdigest().encode()):
        return None
    return list(starmap(PackagedFile, json.loads(body)))


def read_package(
    path: Path, label: str, check: Callable[[], None], limits: PackageLimits | None = None
) -> list[PackagedFile]:
    """Read a .deb as a stream; nothing is unpacked. ``MalformedPackage``, ``UnsafePath`` or ``LimitExceeded``.

    Hard links are left out: the file they name is there under its own name.
    """
    bounds = limits or PackageLimits()
    budget = _Budget(bounds.unpacked_bytes, label)
    files: list[PackagedFile] = []
    with open_package(path, label, check, bounds) as members:
        for member in members:
            if member.content is not None:
                files += _member_digests(_readable(member.path), member.content, budget)
    return files


@dataclass(slots=True)
class _Budget:
    """Bytes that decompressing the members of one package may still give."""

    left: int
    label: str

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise LimitExceeded("its compressed files decompress to more than this portal reads", where=self.label)


def _member_digests(path: str, content: IO[bytes], budget: _Budget) -> list[PackagedFile]:
    suffix = PurePosixPath(path).suffix
    if suffix not in _OPENERS and suffix != ".zst":
        return [PackagedFile(path, *_hash(content), False)]
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as copy:
        while chunk := content.read(_CHUNK):
            copy.write(chunk)
        copy.seek(0)
        files = [PackagedFile(path, *_hash(copy), False)]
        copy.seek(0)
        inner = _hash_zstd(copy, budget) if suffix == ".zst" else _hash_inner(_OPENERS[suffix], copy, budget)
        # Not what its name says, or too large: then only its own bytes can be recognised.
        return files if inner is None else [*files, PackagedFile(path, *inner, True)]


def _hash(content: IO[bytes]) -> tuple[int, str]:
    hasher = hashlib.sha256()
    size = 0
    while chunk := content.read(_CHUNK):
        size += len(chunk)
        hasher.update(chunk)
    return size, hasher.hexdigest()


def _hash_inner(opener: Callable[[IO[bytes]], IO[bytes]], copy: IO[bytes], budget: _Budget) -> tuple[int, str] | None:
    hasher = hashlib.sha256()
    size = 0
    try:
        with opener(copy) as inner:
            while chunk := inner.read(_CHUNK):
                size += len(chunk)
                budget.spend(len(chunk))
                if size > _MAX_DECOMPRESSED_BYTES:
                    return None
                hasher.update(chunk)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return None
    return size, hasher.hexdigest()


def _hash_zstd(copy: IO[bytes], budget: _Budget) -> tuple[int, str] | None:
    """Python 3.13 has no zstd: zstd(1) decompresses; without it such a file is known by its own bytes only."""
    deadline = time.monotonic() + _ZSTD_SECONDS
    hasher = hashlib.sha256()
    size = 0
    with tempfile.TemporaryFile() as source:
        source.write(copy.read())
        source.seek(0)
        try:
            process = subprocess.Popen(
                ["zstd", "-dcq", "--memory=128MB"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            return None
        with process:
            output = cast("IO[bytes]", process.stdout)
            while chunk := output.read(_CHUNK):
                size += len(chunk)
                hasher.update(chunk)
                budget.left -= len(chunk)
                if size > _MAX_DECOMPRESSED_BYTES or budget.left < 0 or time.monotonic() > deadline:
                    process.kill()
                    break
    budget.spend(0)
    return (size, hasher.hexdigest()) if process.returncode == 0 else None


def _readable(path: str) -> str:
    """A path as text that databases and pages can hold; undecodable bytes become U+FFFD."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def source_files(root: Path) -> list[tuple[Digest, SourceFile]]:
    """Regular files of a source tree without its ``.git``, sorted; no symbolic link is followed."""
    found: list[tuple[Digest, SourceFile]] = []
    for directory, names, files in os.walk(root, onerror=_raise):
        if directory == str(root) and ".git" in names:
            names.remove(".git")
        names.sort()
        for name in sorted(files):
            path = Path(directory, name)
            if (hashed := _hash_source(path)) is None:
                continue
            found.append((hashed[0], SourceFile(_readable(path.relative_to(root).as_posix()), hashed[1])))
            if len(found) > MAX_SOURCE_FILES:
                raise LimitExceeded(f"the source tree has more than {MAX_SOURCE_FILES} files", where=root.name)
    return found


def _raise(error: OSError) -> None:
    raise error


def _hash_source(path: Path) -> tuple[Digest, bool] | None:
    """The digest of a regular file and whether it is text; None for anything else."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        data = file.read()
    try:
        is_text = "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        is_text = False
    return Digest.sha256(hashlib.sha256(data).hexdigest()), is_text


def index_contents(
    store: MaterialStore, packages: Iterable[LockedPackage], check: Callable[[], None]
) -> dict[str, list[PackagedFile]]:
    """The files of many stored packages by package sha256; cached ones are only read."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        # Largest first, so that the last one running is a small one.
        order = sorted(packages, key=lambda package: (-package.size, package.sha256))
        results = pool.map(lambda package: package_files(store, package, check), order)
        return {package.sha256: files for package, files in zip(order, results, strict=True)}


class FileIndex(Mapping[Digest, list[Candidate]]):
    """Everything an output's bytes could have been taken from, by digest; values are made when asked for."""

    def __init__(self, packages: Sequence[tuple[LockedPackage, Authenticity]]) -> None:
        self._packages = packages
        self._places: dict[str, list[tuple[int, PackagedFile]]] = defaultdict(list)
        self._others: dict[str, list[Candidate]] = defaultdict(list)

    def add_package_files(self, position: int, files: Iterable[PackagedFile]) -> None:
        """Add what the package at ``position`` of the constructor's packages holds."""
        places = self._places
        for file in files:
            places[file.sha256].append((position, file))

    def add(self, digest: Digest, candidate: Candidate) -> None:
        self._others[digest.hex].append(candidate)

    def __getitem__(self, digest: Digest) -> list[Candidate]:
        found = list(self._others.get(digest.hex, ()))
        for position, file in self._places.get(digest.hex, ()):
            package, authenticity = self._packages[position]
            found.append(PackageFile(package.name, package.version, file.path, file.decompressed, authenticity))
        if not found or digest.algorithm is not Algorithm.SHA256:
            raise KeyError(digest)
        return found

    def __iter__(self) -> Iterator[Digest]:
        return (Digest.sha256(value) for value in self._places.keys() | self._others.keys())

    def __len__(self) -> int:
        return len(self._places.keys() | self._others.keys())


def candidates(
    packages: Iterable[LockedPackage],
    contents: Mapping[str, list[PackagedFile]],
    authenticity: Mapping[str, Authenticity],
    root: Path | None,
    downloads: Iterable[LockedDownload] = (),
) -> FileIndex:
    """Index package files, packages themselves, downloads and the source tree at ``root`` (None: without)."""
    trusted = [(package, authenticity[package.sha256]) for package in packages]
    index = FileIndex(trusted)
    for position, (package, trust) in enumerate(trusted):
        index.add(package.digest, PackageFile(package.name, package.version, "", False, trust))
        index.add_package_files(position, contents[package.sha256])
    for download in downloads:
        index.add(download.digest, DownloadedFile(download.name))
    for digest, source in source_files(root) if root is not None else ():
        index.add(digest, source)
    return index
