"""The base image of build stages: the union of locked packages, merely extracted.

No maintainer script runs and nothing is unpacked on this machine: package archives are streamed
into one layer. The same packages give the same bytes on any machine, so the image needs no trust
in the tool or distribution that assembled it. Written in the docker-archive format (``docker load``).
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builds.domain.errors import LimitExceeded
from builds.pipeline.package_contents import MalformedPackage

MAX_ROOTFS_BYTES = 8 * 1024**3
_MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC")
_DROPPED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/")
_EXTRA_DIRECTORIES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "etc": 0o755, "proc": 0o755, "sys": 0o755}
_EXTRA_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}
_PERMISSIONS = 0o0777


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What was written: the image's name, its id (sha256 of its configuration) and its layer's digest."""

    reference: str
    image_id: str
    rootfs_sha256: str


def write_base_image(
    packages: Sequence[tuple[str, Path]],
    destination: Path,
    *,
    reference: str,
    labels: Mapping[str, str],
    rootfs: Path,
    check: Callable[[], None],
) -> BaseImage:
    """Write a ``docker load`` archive of the extracted ``packages`` (label and .deb) to ``destination``.

    ``rootfs`` is where the layer is kept: it is made when absent and only depends on the packages,
    so it can be used again; its digest is computed anew each time.
    """
    if not rootfs.is_file():
        partial = rootfs.with_suffix(".partial")
        write_rootfs(packages, partial, check)
        partial.replace(rootfs)
    with rootfs.open("rb") as file:
        layer = hashlib.file_digest(file, "sha256").hexdigest()
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": list(_ENVIRONMENT), "Labels": dict(labels), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "locked packages, extracted"}],
        },
        sort_keys=True,
    ).encode()
    image_id = hashlib.sha256(configuration).hexdigest()
    manifest = [{"Config": f"{image_id}.json", "RepoTags": [reference], "Layers": [f"{layer}.tar"]}]
    with tarfile.open(destination, "w") as archive:
        _add_bytes(archive, f"{image_id}.json", configuration)
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
        entry = tarfile.TarInfo(f"{layer}.tar")
        entry.size = rootfs.stat().st_size
        with rootfs.open("rb") as file:
            archive.addfile(entry, file)
    return BaseImage(reference, f"sha256:{image_id}", f"sha256:{layer}")


def write_rootfs(packages: Sequence[tuple[str, Path]], destination: Path, check: Callable[[], None]) -> None:
    """Merge the packages' data archives into one tar: sorted by package, first file of a name wins.

    Owner 0:0, time 0, no setuid bits, no device nodes, no documentation; the top-level aliases of a
    merged /usr are followed, so that a package which still ships ``lib/x`` lands in ``usr/lib/x``.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    merger = _Merger(check)
    with tarfile.open(destination, "w", format=tarfile.GNU_FORMAT) as target:
        for name, mode in sorted(_EXTRA_DIRECTORIES.items()):
            merger.add_directory(target, name, mode)
        for alias, real in sorted(_MERGED.items()):
            merger.add_directory(target, real, 0o755)
            merger.add_link(target, alias, real)
        for label, path in sorted(packages):
            merger.add_package(target, label, path)
        for name, data in sorted(_EXTRA_FILES.items()):
            if name not in merger.seen:
                _add_bytes(target, name, data)


class _Merger:
    def __init__(self, check: Callable[[], None]) -> None:
        self.seen: set[str] = set()
        self._check = check
        self._total = 0

    def add_package(self, target: tarfile.TarFile, label: str, path: Path) -> None:
        command = ["dpkg-deb", "--fsys-tarfile", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            if process.stdout is None:
                raise MalformedPackage("dpkg-deb gave no output", where=label)
            try:
                with tarfile.open(fileobj=process.stdout, mode="r|") as source:
                    for member in source:
                        self._check()
                        self._add_member(target, source, member, label)
            except (tarfile.TarError, EOFError) as error:
                raise MalformedPackage(f"its data archive is unreadable: {error}", where=label) from error
            finally:
                process.kill()

    def add_directory(self, target: tarfile.TarFile, name: str, mode: int) -> None:
        if name not in self.seen:
            self.seen.add(name)
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            target.addfile(entry)

    def add_link(self, target: tarfile.TarFile, name: str, to: str) -> None:
        self.seen.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        target.addfile(entry)

    def _add_member(
        self, target: tarfile.TarFile, source: tarfile.TarFile, member: tarfile.TarInfo, label: str
    ) -> None:
        name = merged_name(member.name, label)
        if not name or name in self.seen or name.startswith(_DROPPED):
            return
        self._total += member.size
        if self._total > MAX_ROOTFS_BYTES:
            raise LimitExceeded(f"the base packages unpack to more than {MAX_ROOTFS_BYTES} bytes", where=label)
        entry = tarfile.TarInfo(name)
        entry.mode = member.mode & _PERMISSIONS
        content: IO[bytes] | None = None
        if member.isdir():
            self.add_directory(target, name, entry.mode)
            return
        if member.isreg():
            entry.size = member.size
            content = source.extractfile(member)
        elif member.issym():
            entry.type, entry.linkname = tarfile.SYMTYPE, member.linkname
        elif member.islnk():
            entry.type, entry.linkname = tarfile.LNKTYPE, merged_name(member.linkname, label)
            if entry.linkname.startswith(_DROPPED):
                return
        else:
            return
        self.seen.add(name)
        target.addfile(entry, content)


def merged_name(name: str, label: str) -> str:
    """A member's path below the root with aliases of a merged /usr followed; empty for the root itself."""
    path = posixpath.normpath("/" + name).lstrip("/")
    if ".." in name.split("/"):
        raise MalformedPackage(f"a member points outside: {name[:200]!r}", where=label)
    top, separator, rest = path.partition("/")
    if top in _MERGED and separator:
        return f"{_MERGED[top]}/{rest}"
    return path if path not in _MERGED else ""


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))
