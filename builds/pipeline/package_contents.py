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
import tarfile
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar, cast

from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, MalformedInput
from builds.domain.materials import LockedPackage
from builds.domain.origins import Authenticity, Candidate, PackageFile, SourceFile
from builds.pipeline.material_store import MaterialStore

MAX_FILES = 200_000
MAX_UNPACKED_BYTES = 16 * 1024**3
_CHUNK = 1024 * 1024
_MAX_DECOMPRESSED_BYTES = 1024**3
_WORKERS = 2
_OPENERS: Mapping[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb")),
    ".bz2": bz2.BZ2File,
}


class MalformedPackage(MalformedInput):
    """A .deb that cannot be read."""

    code: ClassVar[str] = "malformed-package"
    default_todo: ClassVar[str] = "Lock the materials again: this file is no package that dpkg-deb can read."


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A regular file inside a package: its path, size in bytes and sha256 hex."""

    path: str
    size: int
    sha256: str
    decompressed: bool


def package_files(store: MaterialStore, package: LockedPackage, check: Callable[[], None]) -> list[PackagedFile]:
    """The regular files of a stored package; the answer is kept beside the store, since it cannot change."""
    cache = store.root / "contents" / f"{package.sha256}.json"
    if cache.is_file():
        return [PackagedFile(*entry) for entry in json.loads(cache.read_bytes())]
    files = read_package(store.path(package.digest), package.label, check)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache.parent, delete=False, encoding="utf-8") as file:
        json.dump([[entry.path, entry.size, entry.sha256, entry.decompressed] for entry in files], file)
    Path(file.name).replace(cache)
    return files


def read_package(path: Path, label: str, check: Callable[[], None]) -> list[PackagedFile]:
    """Read a .deb as a stream; nothing is unpacked. ``MalformedPackage`` or ``LimitExceeded``."""
    files: list[PackagedFile] = []
    total = 0
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        if process.stdout is None:
            raise MalformedPackage("dpkg-deb gave no output", where=label)
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    check()
                    total += member.size
                    if len(files) > MAX_FILES or total > MAX_UNPACKED_BYTES:
                        raise LimitExceeded(f"the package unpacks to more than {MAX_UNPACKED_BYTES} bytes", where=label)
                    if member.isreg() and (content := archive.extractfile(member)) is not None:
                        files += _member_digests(member.name.removeprefix("./"), member.size, content)
        except (tarfile.TarError, EOFError) as error:
            raise MalformedPackage(f"its data archive is unreadable: {error}", where=label) from error
        finally:
            process.kill()
    return files


def _member_digests(path: str, size: int, content: IO[bytes]) -> list[PackagedFile]:
    opener = _OPENERS.get(PurePosixPath(path).suffix)
    if opener is None:
        return [PackagedFile(path, size, _hash(content, MAX_UNPACKED_BYTES)[1], False)]
    with tempfile.SpooledTemporaryFile(max_size=32 * _CHUNK) as copy:
        while chunk := content.read(_CHUNK):
            copy.write(chunk)
        copy.seek(0)
        files = [PackagedFile(path, size, _hash(copy, MAX_UNPACKED_BYTES)[1], False)]
        copy.seek(0)
        try:
            inner_size, inner = _hash(opener(copy), _MAX_DECOMPRESSED_BYTES)
        except (OSError, EOFError, lzma.LZMAError, zlib.error, LimitExceeded):
            # Not what its name says, or a bomb: then only its own bytes can be recognised.
            return files
        return [*files, PackagedFile(path, inner_size, inner, True)]


def _hash(content: IO[bytes], limit: int) -> tuple[int, str]:
    hasher = hashlib.sha256()
    size = 0
    while chunk := content.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise LimitExceeded(f"more than {limit} bytes", where="compressed file in a package")
        hasher.update(chunk)
    return size, hasher.hexdigest()


def source_files(root: Path) -> list[tuple[Digest, SourceFile]]:
    """Regular files of a source tree without ``.git``, links not followed."""
    found = []
    for directory, names, files in os.walk(root):
        if directory == str(root) and ".git" in names:
            names.remove(".git")
        for name in files:
            path = Path(directory, name)
            if stat.S_ISREG(path.lstat().st_mode):
                digest, is_text = _hash_source(path)
                found.append((digest, SourceFile(path.relative_to(root).as_posix(), is_text)))
    return found


def _hash_source(path: Path) -> tuple[Digest, bool]:
    data = path.read_bytes()
    try:
        is_text = "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        is_text = False
    return Digest.sha256(hashlib.sha256(data).hexdigest()), is_text


def index_contents(
    store: MaterialStore, packages: Iterable[LockedPackage], check: Callable[[], None]
) -> dict[str, list[PackagedFile]]:
    """The files of many stored packages by package sha256; cached ones are only read."""
    wanted = list(packages)
    with ThreadPoolExecutor(_WORKERS) as pool:
        # Largest first, so that the last one running is a small one.
        order = sorted(wanted, key=lambda package: -package.size)
        results = pool.map(lambda package: package_files(store, package, check), order)
        return {package.sha256: files for package, files in zip(order, results, strict=True)}


def candidates(
    packages: Iterable[LockedPackage],
    contents: Mapping[str, list[PackagedFile]],
    authenticity: Mapping[str, Authenticity],
    root: Path,
) -> dict[Digest, list[Candidate]]:
    """Everything an output's bytes could have been taken from: package files, packages and source files."""
    found: dict[Digest, list[Candidate]] = defaultdict(list)
    for package in packages:
        trust = authenticity[package.sha256]
        whole = PackageFile(package.name, package.version, package.path, False, trust)
        found[package.digest].append(whole)
        for file in contents[package.sha256]:
            entry = PackageFile(package.name, package.version, file.path, file.decompressed, trust)
            found[Digest.sha256(file.sha256)].append(entry)
    for digest, source in source_files(root):
        found[digest].append(source)
    return found
