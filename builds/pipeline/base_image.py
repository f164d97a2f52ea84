"""The base image of build stages: the union of locked packages, merely extracted.

No maintainer script runs and nothing is unpacked on this machine: package archives are streamed
into one layer. The same packages give the same bytes on any machine, so the image needs no trust
in the tool or distribution that assembled it. Written in the docker-archive format (``docker load``).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.pipeline.material_store import atomic_file, named_disk_errors
from builds.pipeline.rootfs import write_rootfs

_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC")
_KEPT_DIGEST = re.compile(rb"[0-9a-f]{64}\n")


class RootfsDamaged(PortalError):
    """The kept layer changes while it is read."""

    code: ClassVar[str] = "rootfs-damaged"
    default_todo: ClassVar[str] = "Check the disk under the material store, then ask for the rebuild again."


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What was written: the image's name, its id (sha256 of its configuration) and its layer's digest.

    ``image_id`` and ``rootfs_sha256`` are ``sha256:<hex>``.
    """

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
    epoch: int = 0,
) -> BaseImage:
    """Write a ``docker load`` archive of the extracted ``packages`` (label and .deb) to ``destination``.

    ``rootfs`` is where the layer is kept: it is made when absent and only depends on the packages,
    so it can be used again. Its sha256 is kept beside it and compared whenever it is used; a
    damaged layer is made anew. ``epoch`` (seconds) is the image's ``created`` time. Raises what
    ``write_rootfs`` raises, and ``DiskFull``.
    """
    with named_disk_errors(destination.parent, "while writing the base image"):
        for _ in range(2):
            expected = _kept_digest(rootfs) or _make_rootfs(packages, rootfs, check)
            image = _write_archive(
                destination, rootfs, expected, reference=reference, labels=labels, epoch=epoch, check=check
            )
            if image is not None:
                return image
            _digest_file(rootfs).unlink(missing_ok=True)
            destination.unlink(missing_ok=True)
    raise RootfsDamaged("the layer does not hash to what was just written", where=str(rootfs))


def _make_rootfs(packages: Sequence[tuple[str, Path]], rootfs: Path, check: Callable[[], None]) -> Digest:
    with atomic_file(rootfs) as (file, commit):
        digest = write_rootfs(packages, file, check)
        commit()
    with atomic_file(_digest_file(rootfs)) as (file, commit):
        file.write(f"{digest.hex}\n".encode())
        commit()
    return digest


def _digest_file(rootfs: Path) -> Path:
    return rootfs.with_name(f"{rootfs.name}.sha256")


def _kept_digest(rootfs: Path) -> Digest | None:
    with suppress(FileNotFoundError):
        kept = _digest_file(rootfs).read_bytes()
        if rootfs.is_file() and _KEPT_DIGEST.fullmatch(kept):
            return Digest.sha256(kept.decode().strip())
    return None


def _write_archive(
    destination: Path,
    rootfs: Path,
    expected: Digest,
    *,
    reference: str,
    labels: Mapping[str, str],
    epoch: int,
    check: Callable[[], None],
) -> BaseImage | None:
    """The archive, or None when the layer that was copied into it is not the expected one."""
    configuration = _configuration(expected, labels, epoch)
    image_id = hashlib.sha256(configuration).hexdigest()
    layer = f"{expected.hex}.tar"
    manifest = [{"Config": f"{image_id}.json", "RepoTags": [reference], "Layers": [layer]}]
    with rootfs.open("rb") as file, tarfile.open(destination, "w", format=tarfile.GNU_FORMAT) as archive:
        _add_bytes(archive, f"{image_id}.json", configuration)
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
        entry = tarfile.TarInfo(layer)
        entry.size = rootfs.stat().st_size
        hashing = _HashingReader(file, check)
        archive.addfile(entry, hashing)
    if hashing.hexdigest() != expected.hex:
        return None
    return BaseImage(reference, f"sha256:{image_id}", str(expected))


def _configuration(layer: Digest, labels: Mapping[str, str], epoch: int) -> bytes:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": {"Env": list(_ENVIRONMENT), "Labels": dict(labels), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [str(layer)]},
            "history": [{"created": created, "created_by": "locked packages, extracted"}],
        },
        sort_keys=True,
    ).encode()


class _HashingReader(io.RawIOBase):
    """Hashes what is read through it, so that the bytes checked are the bytes copied."""

    def __init__(self, source: IO[bytes], check: Callable[[], None]) -> None:
        super().__init__()
        self._source = source
        self._check = check
        self._hasher = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._check()
        chunk = self._source.read(size)
        self._hasher.update(chunk)
        return chunk

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))
