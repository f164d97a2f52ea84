"""A mirror's files: the adapter of the file system. Immutable objects by digest, one checkpoint, nothing half written.

Below the directory no link is followed, neither to read nor to write: who may write there leads nobody elsewhere.
A killed publisher leaves the old checkpoint with everything it names, and some objects that nothing names yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from attestations.domain.mirror import CHECKPOINT_FILE, MAX_CHECKPOINT_BYTES, Ref
from builds.domain.errors import PortalError
from builds.domain.printable import one_line
from builds.domain.strict_json import AmbiguousJson, read_json
from builds.pipeline.held_directory import HeldDirectory, held_directory, make_directory
from builds.pipeline.material_store import named_disk_errors
from builds.pipeline.regular_files import HALF_WRITTEN, LockHeld, NotRegular, held_lock

_LOCK: Final = ".lock"
_UNNAMED: Final = ".unnamed.json"
_OBJECT = re.compile(r"index/([0-9a-f]{2})/\1[0-9a-f]{62}\.json|blobs/sha256/([0-9a-f]{2})/\2[0-9a-f]{62}", re.ASCII)
_PLACES = ("index", "blobs/sha256")
_READABLE = 0o644
_OWN: Final = frozenset({_LOCK, _UNNAMED, CHECKPOINT_FILE, *(place.partition("/")[0] for place in _PLACES)})
_FILE_SYSTEMS_OWN: Final = frozenset({"lost+found"})


class MirrorBusy(PortalError):
    """Another publication writes to this directory."""

    code: ClassVar[str] = "mirror-busy"
    default_todo: ClassVar[str] = "Wait for it to end; each publication brings the mirror up to date."


class MirrorNotWritable(PortalError):
    """The mirror's directory cannot be made, read or written."""

    code: ClassVar[str] = "mirror-not-writable"
    default_todo: ClassVar[str] = "Name a directory that the portal may write to: TEE_PORTAL_MIRROR_DIR."


class ForeignDirectory(PortalError):
    """The directory holds something else than this portal's mirror."""

    code: ClassVar[str] = "foreign-directory"
    default_todo: ClassVar[str] = (
        "Name an empty directory, or the one that this portal publishes to. Where somebody damaged that one's "
        "checkpoint.json, remove this file."
    )


type Owns = Callable[[bytes], bool]
"""Whether the bytes of a checkpoint are of the portal that publishes."""


class MirrorTree:
    """One publication's hold on a directory. ``rewrite`` writes every object again, whatever lies there."""

    def __init__(self, held: HeldDirectory, *, rewrite: bool) -> None:
        self._held = held
        self._rewrite = rewrite
        self._sizes = dict(_objects(held))
        self._named: set[str] = set()
        self._unsynced: set[str] = set()
        self.written = 0

    def put_index(self, data: bytes) -> Ref:
        """Have a document of the index there, whole, and named by the next checkpoint."""
        ref = Ref.to(data)
        self._put(ref.index_path, data)
        return ref

    def put_blob(self, data: bytes) -> Ref:
        """The same for evidence."""
        ref = Ref.to(data)
        self._put(ref.blob_path, data)
        return ref

    def keep(self, path: str, size: int) -> bool:
        """Name an object that lies there already; False when it does not, or has to be written again."""
        if path in self._named:
            return True
        if self._rewrite or self._sizes.get(path) != size:
            return False
        self._named.add(path)
        return True

    def keep_document(self, ref: Ref) -> bytes | None:
        """As ``keep``, of a document whose bytes are read and hashed; None when it has to be made again."""
        if not self.keep(ref.index_path, ref.size):
            return None
        with suppress(OSError):
            data = self._held.read(ref.index_path, ref.size + 1)
            if Ref.to(data) == ref:
                return data
        self._named.discard(ref.index_path)
        self._sizes.pop(ref.index_path, None)
        return None

    def checkpoint(self) -> bytes:
        """The bytes of the checkpoint that lies there; empty when there is none."""
        return _checkpoint(self._held)

    def conclude(self, checkpoint: bytes) -> None:
        """Make the checkpoint the mirror's, after everything that it names is safe on disk."""
        for path in self._unsynced:
            with self._held.below(path) as directory:
                directory.sync()
        self._unsynced.clear()
        _write(self._held, CHECKPOINT_FILE, checkpoint)
        self._held.sync()

    def remove_unnamed(self, now: datetime, grace: timedelta) -> int:
        """Remove what no checkpoint has named for as long as ``grace``; how many objects went.

        Who reads by an older checkpoint still finds all of it until then.
        """
        known = self._unnamed_since()
        since = {path: known.get(path, now.timestamp()) for path in self._sizes if path not in self._named}
        gone = [path for path, first in since.items() if now.timestamp() - first > grace.total_seconds()]
        for path in gone:
            self._held.remove(path)
            del since[path]
        _write(self._held, _UNNAMED, json.dumps(since, sort_keys=True).encode())
        return len(gone)

    def _put(self, path: str, data: bytes) -> None:
        if self.keep(path, len(data)):
            return
        parent, _, name = path.rpartition("/")
        with self._held.below(parent, make=True) as directory:
            _write(directory, name, data)
        self._unsynced.add(parent)
        self._sizes[path] = len(data)
        self._named.add(path)
        self.written += 1

    def _unnamed_since(self) -> dict[str, float]:
        """Since when nothing names each object, in seconds of the epoch. It decides about deletion alone."""
        try:
            found = read_json(self._held.read(_UNNAMED))
        except (FileNotFoundError, NotRegular, AmbiguousJson):
            return {}
        if not isinstance(found, dict):
            return {}
        return {path: since for path, since in found.items() if isinstance(since, int | float)}


@contextmanager
def mirror_tree(root: Path, owns: Owns, *, rewrite: bool = False) -> Iterator[MirrorTree]:
    """The tree of a directory, which is made when it is missing, for one publication at a time.

    Raises ``ForeignDirectory`` before anything is written, ``MirrorBusy``, ``UnusableLock``, ``MirrorNotWritable`` and
    ``DiskFull``; also what happens inside is named by the last two.
    """
    try:
        with named_disk_errors(root, "for the mirror"):
            make_directory(root)
            with held_directory(root) as held:
                _refuse_foreign(held, owns, root)
                with held_lock(root / _LOCK):
                    _remove_half_written(held)
                    yield MirrorTree(held, rewrite=rewrite)
    except LockHeld as error:
        raise MirrorBusy("another publication is going on", where=str(root)) from error
    except OSError as error:
        raise MirrorNotWritable(f"{error.strerror}: {error.filename}", where=str(root)) from error


def _refuse_foreign(held: HeldDirectory, owns: Owns, root: Path) -> None:
    """Before even a lock is made there. Without a checkpoint only what a publisher leaves may lie there: a first
    publication that was killed, or a mirror that lost its checkpoint.
    """
    names = {entry.name for entry in held.entries()} - _FILE_SYSTEMS_OWN
    checkpoint = _checkpoint(held)
    if not names or (checkpoint and owns(checkpoint)):
        return
    if checkpoint:
        raise ForeignDirectory(f"its {CHECKPOINT_FILE} is not of this portal", where=str(root))
    others = sorted(name for name in names - _OWN if not name.startswith(HALF_WRITTEN))
    if others:
        what = f"it is not empty and no mirror: it has {one_line(others[0], 100)!r}"
        raise ForeignDirectory(what, where=str(root))
    if _LOCK not in names:
        raise ForeignDirectory("it is not empty, and nobody published to it", where=str(root))


def published_file(root: Path, path: str) -> bytes | None:
    """An object or the checkpoint of a published mirror by its path; None for anything else, and where it is gone."""
    if path != CHECKPOINT_FILE and not _OBJECT.fullmatch(path):
        return None
    try:
        with held_directory(root) as held:
            return held.read(path)
    except (FileNotFoundError, NotADirectoryError, NotRegular):
        return None


def _checkpoint(held: HeldDirectory) -> bytes:
    try:
        return held.read(CHECKPOINT_FILE, MAX_CHECKPOINT_BYTES)
    except FileNotFoundError:
        return b""


def _objects(held: HeldDirectory) -> Iterator[tuple[str, int]]:
    """Every object that lies there, by its path, with its size. Whatever else lies there is nobody's business."""
    for place, directory in _directories(held):
        for entry in directory.entries():
            path = f"{place}/{entry.name}"
            if _OBJECT.fullmatch(path) and entry.is_file(follow_symlinks=False):
                yield path, entry.stat(follow_symlinks=False).st_size


def _directories(held: HeldDirectory) -> Iterator[tuple[str, HeldDirectory]]:
    """The directories that hold objects, each open until the next one."""
    for place in _PLACES:
        with suppress(FileNotFoundError), held.below(place) as above:
            for entry in above.entries():
                if entry.is_dir(follow_symlinks=False):
                    with above.below(entry.name) as directory:
                        yield f"{place}/{entry.name}", directory


def _remove_half_written(held: HeldDirectory) -> None:
    """What a killed publication was about to rename."""
    _remove_half_written_in(held)
    for _, directory in _directories(held):
        _remove_half_written_in(directory)


def _remove_half_written_in(directory: HeldDirectory) -> None:
    for name in [entry.name for entry in directory.entries() if entry.name.startswith(HALF_WRITTEN)]:
        directory.remove(name)


def _write(directory: HeldDirectory, name: str, data: bytes) -> None:
    """Write a file whole or not at all; others may read it."""
    directory.write(name, data, mode=_READABLE)
