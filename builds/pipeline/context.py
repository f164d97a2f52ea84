"""The build context of a stage: source tree, locked packages and earlier outputs, as one tar.

Nothing else: the published files are never within reach of a build.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from builds.domain.errors import MalformedInput

MATERIALS_DIRECTORY = "materials"


class ContextCollision(MalformedInput):
    """The source tree already has a file where the builder must put an input."""

    code = "context-collision"
    default_todo = "Rename the file in the source tree; the builder places materials/ and stage inputs itself."


def write_context(
    destination: Path,
    *,
    tree: Path,
    epoch: int,
    dockerfile: tuple[str, bytes],
    materials: Mapping[str, Path],
    inputs: Mapping[str, Path],
    check: Callable[[], None],
) -> None:
    """Write the context tar: sorted, owner 0:0, every time ``epoch``, modes as git keeps them.

    ``dockerfile`` is its name in the tree and the checked bytes that replace it; ``materials`` land
    in ``materials/<name>``, ``inputs`` (earlier outputs, made executable) at the top.
    """
    placed = {**{f"{MATERIALS_DIRECTORY}/{name}": path for name, path in materials.items()}, **inputs}
    taken = {MATERIALS_DIRECTORY, *inputs} if materials else set(inputs)
    for name in sorted(taken):
        if os.path.lexists(tree / name):
            raise ContextCollision(f"the source tree already has {name}", where="build context")
    with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in _tree_files(tree):
            check()
            name = path.relative_to(tree).as_posix()
            if name == dockerfile[0]:
                _add(archive, name, io.BytesIO(dockerfile[1]), size=len(dockerfile[1]), mode=0o644, epoch=epoch)
            else:
                _add_tree_file(archive, path, name, epoch)
        for name, path in sorted(placed.items()):
            check()
            with path.open("rb") as file:
                mode = 0o755 if name in inputs else 0o644
                _add(archive, name, file, size=path.stat().st_size, mode=mode, epoch=epoch)


def _tree_files(tree: Path) -> list[Path]:
    found: list[Path] = []
    for directory, names, files in os.walk(tree):
        if directory == str(tree) and ".git" in names:
            names.remove(".git")
        links = [name for name in names if Path(directory, name).is_symlink()]
        found += [Path(directory, name) for name in (*files, *links)]
    return sorted(found)


def _add_tree_file(archive: tarfile.TarFile, path: Path, name: str, epoch: int) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mtime = tarfile.SYMTYPE, str(path.readlink()), epoch
        archive.addfile(entry)
    elif stat.S_ISREG(status.st_mode):
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        with path.open("rb") as file:
            _add(archive, name, file, size=status.st_size, mode=mode, epoch=epoch)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], *, size: int, mode: int, epoch: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, mode, epoch
    archive.addfile(entry, content)
