"""Rows as an import and a rebuild leave them, without importing or building anything."""

from __future__ import annotations

from typing import Any

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.materials import lock_digest
from builds.domain.roles import BootMode, Role
from builds.models import Component, LaunchConfiguration, Measurement, Project, Rebuild, Release, ReleaseEvent
from builds.services import submitting
from builds.services.release_events import CONTRADICTION
from tests.support.operators import (
    MATERIAL,
    MEASUREMENT,
    RECIPE_SHA256,
    digests,
    operator_named,
    portal_operator,
    result_of,
)
from tests.support.statements import encoded

COMMIT = "c" * 40


def release_row(project: Project, tag: str = "v1.0.0", contradiction: str = "") -> Release:
    """A release whose five components have the bytes of their role's name, and one published configuration."""
    release = Release.objects.create(
        project=project,
        tag=tag,
        commit=COMMIT,
        source_date_epoch=1_700_000_000,
        manifest=b"{}",
        manifest_sha256="e" * 64,
        commit_time=1_700_000_000,
        recipe_origin="source-tree",
        recipe_sha256=RECIPE_SHA256,
        recipe_roles=sorted(role.value for role in Role),
        lock_sha256=lock_digest([MATERIAL]),
    )
    for role in Role:
        facts = digests(role)
        claimed = f"sha384:{facts['sha384']}" if role is Role.KATANA else f"sha256:{facts['sha256']}"
        Component.objects.create(release=release, role=role, file_name=f"{role}.img", claimed_digest=claimed, **facts)
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


def rebuilt(
    release: Release,
    changed: tuple[Role, ...] = (),
    missing: tuple[Role, ...] = (),
    by: str | None = None,
    **parts: Any,
) -> Rebuild:
    """A rebuild with the release's own bytes, except for the roles in ``changed``, signed and handed in.

    By the portal's own worker, or by the operator of that name.
    """
    rebuilding_as = operator_named(by) if by is not None else portal_operator()
    document = result_of(release, rebuilding_as.public.name, changed, missing, **parts)
    return submitting.accept(rebuilding_as.sign(IN_TOTO_PAYLOAD, encoded(document)).as_bytes()).rebuild
