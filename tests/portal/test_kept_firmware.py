"""The firmware of releases outlives the files of their publishers, and is never taken for anything else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from django.conf import settings

from builds.domain.digest import Digest
from builds.models import Component, Release
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.measurement import MAX_FIRMWARE_BYTES, MalformedFirmware
from builds.services.kept_firmware import FirmwareNotKept, kept_firmware
from tests.support.firmware import forget_firmware
from tests.support.vm_world import World

pytestmark = pytest.mark.django_db


def kept_path(release: Release) -> Path:
    return MaterialStore(settings.FIRMWARE_STORE).path(digest_of(release))


def digest_of(release: Release) -> Digest:
    return Digest.sha256(Component.objects.get(release=release, role="ovmf").sha256)


def test_an_import_keeps_the_firmware_under_its_digest_and_apart_from_all_materials(
    world: World, firmware: Path
) -> None:
    path = kept_path(world.imported())
    assert path.read_bytes() == firmware.read_bytes()
    digest = Digest.sha256(hashlib.sha256(firmware.read_bytes()).hexdigest())
    assert path == settings.FIRMWARE_STORE / "sha256" / digest.hex[:2] / digest.hex
    assert MaterialStore(settings.MATERIAL_STORE).path(digest) != path
    assert len(kept_firmware(digest).digest) == 48


def test_importing_again_keeps_the_firmware_of_a_release_that_was_imported_without(world: World) -> None:
    release = world.imported()
    kept_path(release).unlink()
    forget_firmware()
    with pytest.raises(FirmwareNotKept, match="Import the release again"):
        kept_firmware(digest_of(release))
    world.imported()
    assert kept_firmware(digest_of(release)).reset_eip


def test_a_damaged_copy_is_named_and_set_aside_and_replaced_by_the_next_import(world: World) -> None:
    release = world.imported()
    path = kept_path(release)
    honest = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(honest[:-1] + b"\xff")
    forget_firmware()
    with pytest.raises(FirmwareNotKept, match="was damaged and is set aside"):
        kept_firmware(digest_of(release))
    assert not path.exists()
    world.imported()
    assert path.read_bytes() == honest


def test_bytes_that_are_no_firmware_are_kept_and_refused_by_name(world: World) -> None:
    world.release.replace("OVMF.fd", os.urandom(8192))
    release = world.imported()
    for _ in range(2):
        with pytest.raises(MalformedFirmware):
            kept_firmware(digest_of(release))


def test_what_is_larger_than_any_firmware_is_not_kept(world: World) -> None:
    world.release.replace("OVMF.fd", bytes(MAX_FIRMWARE_BYTES + 1))
    assert not kept_path(world.imported()).exists()


def test_a_release_without_firmware_is_imported(world: World) -> None:
    world.release.members = [entry for entry in world.release.members if entry[0] != "OVMF.fd"]
    world.imported()
    assert not settings.FIRMWARE_STORE.exists()
