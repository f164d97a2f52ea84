"""Reading tar.gz files that may be hostile, in one pass. Only files that the caller names are ever written out."""

from __future__ import annotations

import codecs
import os
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from builds.domain.digest import FileDigests
from builds.domain.errors import DiskFull, LimitExceeded, UnsafePath
from builds.domain.paths import relative_path
from builds.pipeline.archives import MalformedArchive
from builds.pipeline.hashing import TwoDigests, gunzip
from builds.pipeline.streams import IterableReader

MAX_TAR_MEMBERS = 1000
_CHUNK = 1024 * 1024
_MAX_TAR_HEADERS = 1024 * 1024
_MAX_NAME_BYTES = 4096
_MAX_KEPT_DEPTH = 2
_ELF_MAGIC = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class TarredFile:
    """The wanted member of a tarball: digests of the tarball and of the member."""

    member: str
    container: FileDigests
    content: FileDigests


@dataclass(frozen=True, slots=True)
class TarMember:
    """One name in a tarball that is no directory; ``content`` is None for what is no regular file.

    ``is_text``: UTF-8 without NUL, so that people can read it; an empty file is.
    """

    path: PurePosixPath
    content: FileDigests | None
    is_elf: bool = False
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Tarball:
    """Digests of a tar.gz itself, and everything it holds, in its order."""

    container: FileDigests
    members: tuple[TarMember, ...]


class _TarContent:
    """The unpacked tarball as tarfile reads it, never further than ``allowed`` bytes.

    tarfile takes the extended headers of a member (names, pax records, sparse maps) whole into
    memory before it shows the member, whatever size they claim; so each may only lie within the
    allowance that was made before it.
    """

    def __init__(self, chunks: Iterator[bytes], where: str) -> None:
        self._reader = IterableReader(chunks)
        self._where = where
        self._position = 0
        self.allowed = _MAX_TAR_HEADERS
        self.last_nonzero = 0

    def read(self, size: int) -> bytes:
        if self._position >= self.allowed:
            raise LimitExceeded(f"a member's headers take more than {_MAX_TAR_HEADERS} bytes", where=self._where)
        return self.take(size)

    def take(self, size: int) -> bytes:
        chunk = self._reader.read(size)
        if used := len(chunk.rstrip(b"\0")):
            self.last_nonzero = self._position + used
        self._position += len(chunk)
        return chunk


def hash_tar_member(path: Path, names: frozenset[str], max_bytes: int, *, check: Callable[[], None]) -> TarredFile:
    """Digests of a tar.gz and of its one member called one of ``names``, in one read.

    Raises ``MalformedArchive`` when the wanted member is absent, not a plain file or there twice,
    and the errors of ``read_tarball``.
    """
    where = path.name
    found: list[tuple[str, FileDigests]] = []

    def visit(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        if name not in names:
            return
        if found:
            raise MalformedArchive(f"the tarball holds {name} or its like twice", where=where)
        found.append((name, _read_member(archive, member, None, where).digests))

    container = _walk(path, max_bytes, visit, check=check)
    if not found:
        raise MalformedArchive(f"the tarball holds none of {', '.join(sorted(names))}", where=where)
    return TarredFile(found[0][0], container, found[0][1])


def read_tarball(
    path: Path,
    max_bytes: int,
    *,
    keep: Mapping[str, Path],
    check: Callable[[], None],
    max_kept_bytes: int | None = None,
) -> Tarball:
    """Everything in a tar.gz, hashed in one read; members called a name of ``keep`` are written to its path.

    The name is compared in lower case and without one leading directory, the path is the caller's and
    must not be there: of two members with one name only the first is written, and both are in the
    result. One of more than ``max_kept_bytes`` is hashed and not written.

    Raises ``UnsafePath`` for any member that points outside, goes through a link or whose name is no text,
    ``MalformedArchive``
    when something follows the last member or a name is too long, ``LimitExceeded``, ``DiskFull``, and the errors of
    ``gunzip``.
    """
    where = path.name
    members: list[TarMember] = []
    left = dict(keep)

    def visit(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        if member.isdir() or not name:
            return
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            raise MalformedArchive(f"the name {name[:100]!r} is too long", where=where)
        place = PurePosixPath(name)
        if not member.isreg():
            members.append(TarMember(place, None))
            return
        kept = left.pop(place.name.lower(), None) if len(place.parts) <= _MAX_KEPT_DEPTH else None
        if max_kept_bytes is not None and member.size > max_kept_bytes:
            kept = None
        read = _read_member(archive, member, kept, where)
        members.append(TarMember(place, read.digests, read.is_elf, read.is_text))

    container = _walk(path, max_bytes, visit, check=check)
    return Tarball(container, tuple(members))


def _walk(
    path: Path,
    max_bytes: int,
    visit: Callable[[tarfile.TarFile, tarfile.TarInfo, str], None],
    *,
    check: Callable[[], None],
) -> FileDigests:
    """Call ``visit`` with every member and its checked name; the digests of the file itself."""
    where = path.name
    with TwoDigests() as container:
        content = _TarContent(gunzip(path, container, max_bytes, check=check), where)
        end = 0
        links: set[PurePosixPath] = set()
        try:
            with tarfile.open(fileobj=content, mode="r|", bufsize=_CHUNK) as archive:  # type: ignore[call-overload]
                for member, after in _members(archive, content, max_bytes, where):
                    end = after
                    name = _tar_member_name(member, where)
                    _refuse_through_links(name, links, where)
                    if member.issym() or member.islnk():
                        links.add(PurePosixPath(name))
                    visit(archive, member, name)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            # ValueError: tarfile converts numbers of sparse headers without looking.
            raise MalformedArchive(f"the tarball is unreadable: {str(error)[:200]}", where=where) from error
        while content.take(_CHUNK):
            pass
    if content.last_nonzero > end:
        raise MalformedArchive("something follows the last member of the tarball", where=where)
    return container.digests


def _members(
    archive: tarfile.TarFile, content: _TarContent, max_bytes: int, where: str
) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Every member with the place where it ends; too many, too large or of no true size is refused."""
    total = 0
    for number, member in enumerate(archive, start=1):
        if member.size < 0 or member.issparse() or (member.size and not member.isreg()):
            raise MalformedArchive(f"{member.name[:100]!r} is sparse or has no true size", where=where)
        total += member.size
        if number > MAX_TAR_MEMBERS or total > max_bytes:
            raise LimitExceeded(f"the tarball unpacks to more than {max_bytes} bytes", where=where)
        end = member.offset_data + (-(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
        content.allowed = end + _MAX_TAR_HEADERS
        yield member, end


def _refuse_through_links(name: str, links: Collection[PurePosixPath], where: str) -> None:
    """tar writes such a member over another one: whoever unpacks it gets other bytes than were hashed here."""
    path = PurePosixPath(name)
    for place in (path, *path.parents):
        if place in links:
            raise UnsafePath(f"{name[:100]!r} goes through the link {str(place)[:100]!r}", where=where)


def _tar_member_name(member: tarfile.TarInfo, where: str) -> str:
    name = member.name.removeprefix("./")
    if name in {"", "."}:
        return ""
    path = relative_path(name, where=where)
    if member.issym() or member.islnk():
        target = member.linkname
        if target.startswith("/") or ".." in target.split("/"):
            raise UnsafePath(f"the link {name[:100]!r} points outside the archive", where=where)
    return str(path)


@dataclass(frozen=True, slots=True)
class _Read:
    digests: FileDigests
    is_elf: bool
    is_text: bool


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, kept: Path | None, where: str) -> _Read:
    """Hash a member, look at what kind of bytes it is, and write it to ``kept``, which must not be there."""
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise MalformedArchive(f"{member.name[:100]!r} is not a regular file", where=where)
    text = _TextCheck()
    head = b""
    with ExitStack() as stack:
        digests = stack.enter_context(TwoDigests())
        copy = stack.enter_context(_Copy(kept)) if kept is not None else None
        while chunk := content.read(_CHUNK):
            head = head or chunk[: len(_ELF_MAGIC)]
            digests.update(chunk)
            text.update(chunk)
            if copy is not None:
                copy.write(chunk)
    return _Read(digests.digests, head == _ELF_MAGIC, text.ended_well())


class _Copy:
    """A new file; what goes wrong in writing it is the portal's trouble and not the archive's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with self._named():
            self._file = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        with self._named():
            self._file.close()

    def write(self, chunk: bytes) -> None:
        with self._named():
            self._file.write(chunk)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskFull(f"a member cannot be written out: {error.strerror}", where=str(self._path.parent)) from error


class _TextCheck:
    """Whether a stream is UTF-8 without NUL."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True

    def update(self, chunk: bytes) -> None:
        if self._is_text:
            self._is_text = b"\0" not in chunk and self._decodes(chunk, final=False)

    def ended_well(self) -> bool:
        return self._is_text and self._decodes(b"", final=True)

    def _decodes(self, chunk: bytes, *, final: bool) -> bool:
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError:
            return False
        return True
