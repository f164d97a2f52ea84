"""The union of packages as one tar: the same bytes for the same packages, whatever their order.

Fixed here: entries sorted by path; owner 0:0; time 0; permissions without setuid, setgid and (except
for the two temporary directories) sticky bits; no documentation, manual pages and translations; no
device nodes. Aliases of a merged /usr are followed, so that a package which still ships ``lib/x``
lands in ``usr/lib/x``. Contents wait in one unnamed spool file: no member's name is ever a path on
this machine.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, PortalError, UnsafePath
from builds.pipeline.deb_stream import MalformedPackage, Member, MemberKind, open_package

MAX_ROOTFS_BYTES = 8 * 1024**3
_MAX_ENTRIES = 500_000
_CHUNK = 1024 * 1024
_PERMISSIONS = 0o0777
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
_ALWAYS_LINKED = ("bin", "sbin", "lib", "lib64")
_DROPPED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/")
_FIXED_DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "var": 0o755,
    "var/tmp": 0o1777,
    **{f"usr/{name}": 0o755 for name in _ALWAYS_LINKED},
}
_DEFAULT_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


class PackagesConflict(PortalError):
    """Two packages put different things under one name."""

    code: ClassVar[str] = "packages-conflict"
    default_todo: ClassVar[str] = "Drop one of the two packages from the recipe's base group and lock again."


@dataclass(frozen=True, slots=True)
class _Inode:
    """A file's content in the spool; names that share one inode become hard links."""

    offset: int
    size: int
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """One name: a file (``inode``), a symbolic link (``link``) or a directory (neither)."""

    label: str
    mode: int
    inode: _Inode | None = None
    link: str | None = None

    @property
    def kind(self) -> str:
        if self.inode is not None:
            return "a file"
        return "a directory" if self.link is None else "a symbolic link"

    def same(self, other: _Entry) -> bool:
        """Whether both put the same thing there; of files, content and permissions count."""
        mine, theirs = self.inode, other.inode
        if mine is not None and theirs is not None:
            return (mine.sha256, mine.mode) == (theirs.sha256, theirs.mode)
        return mine is theirs and self.link == other.link


class _HashingWriter(io.RawIOBase):
    def __init__(self, target: IO[bytes]) -> None:
        super().__init__()
        self._target = target
        self.hasher = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile passes bytes only
        self.hasher.update(data)
        return self._target.write(data)


def write_rootfs(packages: Sequence[tuple[str, Path]], target: IO[bytes], check: Callable[[], None]) -> Digest:
    """Write the union of ``packages`` (label and .deb) to ``target`` and return the tar's sha256.

    Raises ``PackagesConflict`` when two packages disagree about a name, ``MalformedPackage``,
    ``UnsafePath`` (a name outside the root or below a symbolic link), ``LimitExceeded``, or what
    ``check`` raises.
    """
    output = _HashingWriter(target)
    with tempfile.TemporaryFile(dir=Path(target.name).parent) as spool:
        union = _Union(spool, check)
        for label, path in sorted(packages):
            with open_package(path, label, check) as members:
                union.add_package(label, members)
        union.complete()
        with tarfile.open(
            fileobj=output, mode="w|", format=tarfile.GNU_FORMAT, bufsize=_CHUNK, errors="surrogateescape"
        ) as archive:
            union.write(archive)
    return Digest.sha256(output.hasher.hexdigest())


class _Union:
    """The names of the root file system while packages are added to it."""

    def __init__(self, spool: IO[bytes], check: Callable[[], None]) -> None:
        self._spool = spool
        self._check = check
        self._entries: dict[str, _Entry] = {}
        self._total = 0

    def add_package(self, label: str, members: Iterator[Member]) -> None:
        own: dict[str, _Inode] = {}
        for member in members:
            path = merged_path(member.path)
            if not path or path in _MERGED:
                continue
            if member.kind is MemberKind.HARDLINK:
                link = merged_path(member.link)
                if link not in own:
                    raise MalformedPackage(f"{path[:200]!r} is a hard link to no file before it", where=label)
                own[path] = own[link]
            elif member.content is not None:
                own[path] = self._spooled(member.content, member.mode & _PERMISSIONS, label)
            if not path.startswith(_DROPPED):
                self._add(path, _entry(member, own.get(path), label))

    def _spooled(self, content: IO[bytes], mode: int, label: str) -> _Inode:
        offset, hasher = self._total, hashlib.sha256()
        while chunk := content.read(_CHUNK):
            hasher.update(chunk)
            self._spool.write(chunk)
            self._total += len(chunk)
            if self._total > MAX_ROOTFS_BYTES:
                raise LimitExceeded(f"the base packages unpack to more than {MAX_ROOTFS_BYTES} bytes", where=label)
        return _Inode(offset, self._total - offset, hasher.hexdigest(), mode)

    def _add(self, path: str, entry: _Entry) -> None:
        known = self._entries.get(path)
        if known is None:
            if len(self._entries) >= _MAX_ENTRIES:
                raise LimitExceeded(f"the base packages have more than {_MAX_ENTRIES} entries", where=entry.label)
            self._entries[path] = entry
        elif not known.same(entry):
            raise PackagesConflict(
                f"/{path[:200]} is {known.kind} of {known.label} and {entry.kind} of {entry.label}, which differ",
                where=entry.label,
            )
        elif entry.inode is None and entry.link is None:
            # Directories are shared; where packages disagree about permissions, the narrower ones hold.
            self._entries[path] = _Entry(known.label, known.mode & entry.mode)

    def complete(self) -> None:
        """Add what a root file system needs and no package ships, then check that every parent is a directory."""
        mine = "the builder"
        for name, mode in _FIXED_DIRECTORIES.items():
            self._entries[name] = _Entry(mine, mode)
        merged = [name for name in _MERGED if name in _ALWAYS_LINKED or f"usr/{name}" in self._entries]
        for name in merged:
            self._entries[name] = _Entry(mine, 0o777, link=f"usr/{name}")
        for name, data in _DEFAULT_FILES.items():
            if name not in self._entries:
                self._entries[name] = _Entry(mine, 0o644, self._spooled(io.BytesIO(data), 0o644, mine))
        for path, entry in list(self._entries.items()):
            self._check_parents(path, entry)

    def _check_parents(self, path: str, entry: _Entry) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            above = self._entries.setdefault(parent, _Entry(entry.label, 0o755))
            if above.kind != "a directory":
                raise UnsafePath(
                    f"/{path[:200]} lies below /{parent[:200]}, {above.kind} of {above.label}", where=entry.label
                )
            parent = parent.rpartition("/")[0]

    def write(self, archive: tarfile.TarFile) -> None:
        first: dict[int, str] = {}
        for path, entry in sorted(self._entries.items()):
            self._check()
            header = tarfile.TarInfo(path)
            header.mode = entry.mode
            if entry.link is not None:
                header.type, header.linkname = tarfile.SYMTYPE, entry.link
            elif entry.inode is None:
                header.type = tarfile.DIRTYPE
            elif (same := first.setdefault(id(entry.inode), path)) != path:
                header.type, header.linkname = tarfile.LNKTYPE, same
            else:
                header.size = entry.inode.size
                self._spool.seek(entry.inode.offset)
                archive.addfile(header, self._spool)
                continue
            archive.addfile(header)


def _entry(member: Member, inode: _Inode | None, label: str) -> _Entry:
    if inode is not None:
        return _Entry(label, inode.mode, inode)
    if member.kind is MemberKind.SYMLINK:
        return _Entry(label, 0o777, link=member.link)
    return _Entry(label, member.mode & _PERMISSIONS)


def merged_path(path: str) -> str:
    """A path below the root with the top-level aliases of a merged /usr followed."""
    top, separator, rest = path.partition("/")
    return f"usr/{top}/{rest}" if separator and top in _MERGED else path
