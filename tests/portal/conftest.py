"""Releases in the database without building anything: rows as an import and a rebuild leave them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from builds.domain.origins import OriginKind
from builds.domain.roles import BootMode, Role
from builds.models import (
    Component,
    LaunchConfiguration,
    Measurement,
    Project,
    Rebuild,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
    Release,
    ReleaseEvent,
)
from builds.services import rebuilding
from builds.services.projects import keep_recipe
from builds.services.release_events import CONTRADICTION
from tests.support.sources import make_bare_repository
from tests.support.vm_release import TAG, VmRelease
from tests.support.vm_world import EXAMPLE, World, expected

COMMIT = "c" * 40
MEASUREMENT = "d" * 96


def digests(text: str) -> dict[str, str | int]:
    data = text.encode()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "sha384": hashlib.sha384(data).hexdigest()}


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(name="enclave", source_url="file:///nowhere")


@pytest.fixture
def make_release(project: Project) -> Callable[..., Release]:
    """A release whose five components have the bytes of their role's name."""

    def make(tag: str = "v1.0.0", contradiction: str = "") -> Release:
        release = Release.objects.create(
            project=project,
            tag=tag,
            commit=COMMIT,
            source_date_epoch=1_700_000_000,
            manifest=b"{}",
            manifest_sha256="e" * 64,
        )
        for role in Role:
            facts = digests(role)
            claimed = f"sha384:{facts['sha384']}" if role is Role.KATANA else f"sha256:{facts['sha256']}"
            Component.objects.create(
                release=release, role=role, file_name=f"{role}.img", claimed_digest=claimed, **facts
            )
        configuration = LaunchConfiguration.objects.create(
            release=release,
            name="default",
            boot_mode=BootMode.DIRECT_KERNEL,
            vcpus=4,
            vcpu_type="EPYC-v4",
            guest_features=1,
            vmm="qemu",
            command_line="console=ttyS0",
            origin="test",
            not_covered=[{"what": "data disk", "check": "look at the host"}],
        )
        Measurement.objects.create(
            launch_configuration=configuration,
            published=MEASUREMENT,
            recomputed=MEASUREMENT,
            coverage=["cmdline", "initrd", "kernel", "ovmf"],
        )
        if contradiction:
            ReleaseEvent(release=release, kind=CONTRADICTION, detail={"sentence": contradiction}).save()
        return release

    return make


@pytest.fixture
def make_rebuild() -> Callable[..., Rebuild]:
    """A succeeded rebuild with the release's own bytes, except for the roles in ``changed``."""

    def make(release: Release, changed: tuple[Role, ...] = (), missing: tuple[Role, ...] = ()) -> Rebuild:
        now = timezone.now()
        rebuild = Rebuild.objects.create(
            release=release,
            rebuilder=rebuilding.local_rebuilder(),
            state="succeeded",
            started_at=now,
            finished_at=now,
        )
        for role in Role:
            if role in missing:
                continue
            RebuiltComponent(
                rebuild=rebuild,
                role=role,
                origin_kind=OriginKind.PACKAGE if role is Role.KERNEL else OriginKind.BUILT,
                origin="taken as is from package linux" if role is Role.KERNEL else "built in this rebuild",
                **digests(f"changed {role}" if role in changed else role),
            ).save()
        katana = digests(Role.KATANA)
        RebuiltFile(
            rebuild=rebuild,
            role=Role.INITRD,
            path="bin/katana",
            size=katana["size"],
            sha256=katana["sha256"],
            origin_kind=OriginKind.BUILT,
            origin="built in this rebuild",
        ).save()
        for configuration in release.launch_configurations.all():
            value = "f" * 96 if Role.INITRD in changed else MEASUREMENT
            RebuiltMeasurement(rebuild=rebuild, launch_configuration=configuration, value=value).save()
        return rebuild

    return make


@pytest.fixture
def world(db: None, tmp_path: Path, firmware: Path) -> World:
    repository = make_bare_repository(tmp_path / "source", TAG)
    project = Project.objects.create(name="katana-tee-vm", source_url=repository.url)
    keep_recipe(project, EXAMPLE.read_text(), "Ada")
    release = VmRelease(firmware=firmware.read_bytes(), measurement=expected(firmware, tmp_path))
    return World(tmp_path, repository, project, release)
