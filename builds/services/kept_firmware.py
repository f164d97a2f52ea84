"""The firmware of releases, kept so that any launch measurement can be computed later without the publisher's files.

Of a kernel and an initrd only the SHA-256 enters a measurement, and every component's row has that. Firmware is
measured page by page, so its bytes are kept: a few MiB, by digest, and once for all releases that share it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from django.conf import settings

from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.domain.roles import Role
from builds.pipeline.material_store import MaterialDamaged, MaterialStore
from builds.pipeline.measurement import MAX_FIRMWARE_BYTES, Firmware, MalformedFirmware
from builds.pipeline.published_release import PublishedRelease

_READ_AT_ONCE = 64


class FirmwareNotKept(PortalError):
    """The bytes of a release's firmware are not here, so no further measurement of it can be computed."""

    code: ClassVar[str] = "firmware-not-kept"
    default_todo: ClassVar[str] = "Import the release again: its firmware is kept then."


def keep_firmware(published: PublishedRelease) -> None:
    """Keep the firmware's bytes under their digest; what is no firmware by its size cannot be measured anyway.

    Raises ``DiskFull``, and ``MaterialDamaged`` when the file is not what was hashed a moment ago.
    """
    asset = published.assets.get(Role.OVMF)
    if asset is None or asset.path is None or asset.published.content is None:
        return
    content = asset.published.content
    if content.size > MAX_FIRMWARE_BYTES:
        return
    store = MaterialStore(settings.FIRMWARE_STORE)
    with suppress(FileNotFoundError, MaterialDamaged):  # a damaged copy is set aside and replaced
        store.verified(content.sha256)
        return
    store.add_file(asset.path, content.sha256)


def kept_firmware(digest: Digest) -> Firmware:
    """The firmware with this SHA-256, read once for each process; the file is hashed when it is read.

    Raises ``FirmwareNotKept``, and ``MalformedFirmware`` for bytes that cannot be measured.
    """
    try:
        found = _read(settings.FIRMWARE_STORE, digest)
    except FileNotFoundError as error:
        raise FirmwareNotKept("the firmware of this release is not kept here", where=str(digest)) from error
    except MaterialDamaged as error:
        raise FirmwareNotKept("the kept firmware was damaged and is set aside", where=str(digest)) from error
    if isinstance(found, MalformedFirmware):
        raise found
    return found


@lru_cache(maxsize=_READ_AT_ONCE)
def _read(root: Path, digest: Digest) -> Firmware | MalformedFirmware:
    """Bytes that cannot be measured never will be, so that answer is remembered too; a missing file may come."""
    path = MaterialStore(root).verified(digest)
    try:
        return Firmware(path, f"firmware {digest}")
    except MalformedFirmware as error:
        return error
