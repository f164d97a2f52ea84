"""Imports a published release: what it says, what its files are, and what follows from both."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from builds.domain.digest import FileDigests
from builds.domain.errors import PortalError
from builds.domain.launch import LaunchConfiguration as Launch
from builds.domain.launch import LaunchMeasurement, Vmm
from builds.domain.manifest import MANIFEST_FILE, MEASUREMENT_FILE
from builds.domain.materials import MaterialsLock
from builds.domain.recipe import LaunchConfigurationSpec, Recipe
from builds.domain.roles import BootMode, Role
from builds.models import (
    Component,
    LaunchConfiguration,
    Material,
    Measurement,
    Project,
    Release,
    ReleaseEvent,
)
from builds.pipeline.archive_evidence import authenticate
from builds.pipeline.rebuild import measure_files, read_recipe_and_lock
from builds.pipeline.release_directory import Asset, PublishedRelease, read_release_directory
from builds.pipeline.source import GitSource
from builds.services import workshop
from builds.services.evidence import (
    CHANGED_SINCE_IMPORT,
    CONTRADICTION,
    MATERIALS_FAILED,
    MATERIALS_STORED,
)

# What calculate-measurement.sh assumes when a recipe does not say: sev-snp-measure's own defaults.
_DEFAULT_GUEST_FEATURES = 0x1
_DEFAULT_VMM: Vmm = "qemu"


class ReleaseChanged(PortalError):
    """The tag was imported before, with another manifest."""

    code: ClassVar[str] = "release-changed"
    default_todo: ClassVar[str] = (
        "What was first seen is kept and shown with this event. Ask the publisher why a published release changed."
    )


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the source at the release's commit says: recipe, lock and the commit's time in seconds."""

    recipe: Recipe
    lock: MaterialsLock
    commit_time: int


@dataclass(frozen=True, slots=True)
class _Measured:
    """A launch configuration as published, and the measurement recomputed for it."""

    configuration: LaunchConfiguration
    measurement: Measurement


def import_release(project: Project, directory: Path) -> Release:
    """Import a release directory. Importing the same manifest again changes nothing.

    Raises the named errors of ``read_release_directory`` and ``ReleaseChanged``; then nothing is
    imported. A source or materials that cannot be had are recorded as an event instead: the
    release stays visible, and a rebuild says the same.
    """
    published = read_release_directory(directory, settings.ENVIRONMENT.max_asset_bytes, check=_unstoppable)
    manifest = published.manifest
    manifest_sha256 = hashlib.sha256(published.manifest_bytes).hexdigest()
    known = Release.objects.filter(project=project, tag=manifest.katana_version).first()
    if known is not None:
        return _seen_before(known, manifest_sha256)
    facts, problem = _source_facts(project, manifest.git_commit, manifest.katana_version)
    measured = _measure(published, facts)
    with transaction.atomic():
        release = Release.objects.create(
            project=project,
            tag=manifest.katana_version,
            commit=manifest.git_commit,
            source_date_epoch=manifest.source_date_epoch,
            manifest=published.manifest_bytes,
            manifest_sha256=manifest_sha256,
        )
        _record(release, "imported", {"directory": directory.name})
        for sentence in (*published.contradictions, *_epoch_contradictions(published, facts)):
            _record(release, CONTRADICTION, {"sentence": sentence})
        for asset in published.assets.values():
            _component(release, asset).save()
        if measured is not None:
            measured.configuration.release = release
            measured.configuration.save()
            measured.measurement.save()
    _store_materials(release, facts, problem)
    return release


def store_materials(release: Release) -> bool:
    """Fetch and keep the materials of an imported release; the outcome is recorded as an event."""
    facts, problem = _source_facts(release.project, release.commit, release.tag)
    return _store_materials(release, facts, problem)


def _store_materials(release: Release, facts: SourceFacts | None, problem: PortalError | None) -> bool:
    if facts is None:
        _record(release, MATERIALS_FAILED, problem.as_dict() if problem is not None else {})
        return False
    try:
        workshop.store().ensure(facts.lock.packages, workshop.mirror(), _unstoppable)
    except PortalError as error:
        _record(release, MATERIALS_FAILED, error.as_dict())
        return False
    trust = authenticate(
        facts.lock, workshop.store(), settings.ARCHIVE_KEYRING, mirror=workshop.mirror(), check=_unstoppable
    )
    with transaction.atomic():
        for package in facts.lock.packages:
            authenticity = trust[package.sha256]
            material, _ = Material.objects.get_or_create(
                sha256=package.sha256,
                defaults={
                    "name": package.name,
                    "version": package.version,
                    "architecture": package.architecture,
                    "suite": package.suite or "",
                    "size": package.size,
                    "authenticated": authenticity.authenticated,
                    "authenticity": authenticity.sentence,
                },
            )
            release.materials.add(material)
        Release.objects.filter(pk=release.pk).update(materials_stored_at=timezone.now())
        _record(release, MATERIALS_STORED, {"packages": str(len(facts.lock.packages))})
    return True


def _seen_before(known: Release, manifest_sha256: str) -> Release:
    """The same manifest is the same release; another one is an event and an error."""
    if known.manifest_sha256 == manifest_sha256:
        return known
    error = ReleaseChanged(
        f"{known.tag} was imported with manifest sha256:{known.manifest_sha256}; this one is sha256:{manifest_sha256}",
        where=str(known),
    )
    _record(known, CHANGED_SINCE_IMPORT, error.as_dict())
    raise error


def _source_facts(project: Project, commit: str, tag: str) -> tuple[SourceFacts | None, PortalError | None]:
    """Recipe and lock at the commit, or the named error that kept them away."""
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.WORK_DIR, prefix="import-") as directory:
        try:
            tree = GitSource(project.source_url, _unstoppable).checkout(commit, Path(directory, "source"), tag=tag)
            recipe, lock = read_recipe_and_lock(tree)
        except PortalError as error:
            return None, error
        return SourceFacts(recipe, lock, tree.commit_time), None


def _epoch_contradictions(published: PublishedRelease, facts: SourceFacts | None) -> list[str]:
    stated = published.manifest.source_date_epoch
    if facts is None or facts.commit_time == stated:
        return []
    return [f"The manifest's source_date_epoch is {stated}, the commit's time is {facts.commit_time}."]


def _component(release: Release, asset: Asset) -> Component:
    published = asset.published
    content, container = published.content, published.container
    return Component(
        release=release,
        role=published.role,
        file_name=asset.path.name if asset.path is not None else "",
        container_kind=asset.container_kind,
        claimed_digest=str(published.claimed) if published.claimed is not None else "",
        claim_subject=published.claim_subject,
        problem=asset.problem.as_dict() if asset.problem is not None else None,
        **_digest_fields("", content),
        **_digest_fields("container_", container),
    )


def _digest_fields(prefix: str, digests: FileDigests | None) -> dict[str, int | str]:
    if digests is None:
        return {}
    return {
        f"{prefix}size": digests.size,
        f"{prefix}sha256": digests.sha256.hex,
        f"{prefix}sha384": digests.sha384.hex,
    }


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the published documents say a measurement was computed for, and its value."""

    boot_mode: BootMode
    vcpus: int
    vcpu_type: str
    command_line: str | None
    """None when no document names it, which is not the same as an empty one."""
    value: str


def _stated(published: PublishedRelease) -> _Stated | None:
    document, manifest = published.measurement, published.manifest.measurement
    if document is not None:
        vm = document.vm_config
        command_line = document.components.cmdline if document.boot_mode is BootMode.DIRECT_KERNEL else ""
        return _Stated(document.boot_mode, vm.vcpus, vm.vcpu_type, command_line, document.measurement)
    if manifest is not None:
        return _Stated(BootMode.DIRECT_KERNEL, manifest.vcpus, manifest.vcpu_type, None, manifest.sev_snp_hex)
    return None


def _measure(published: PublishedRelease, facts: SourceFacts | None) -> _Measured | None:
    """The published launch configuration, completed from the recipe, and its measurement recomputed."""
    stated = _stated(published)
    if stated is None:
        return None
    spec = _matching_spec(facts, stated)
    launch = Launch(
        boot_mode=stated.boot_mode,
        vcpus=stated.vcpus,
        vcpu_type=stated.vcpu_type,
        guest_features=spec.guest_features if spec is not None else _DEFAULT_GUEST_FEATURES,
        vmm=spec.vmm if spec is not None else _DEFAULT_VMM,
    )
    completed = "from the recipe" if spec is not None else "assumed, the recipe has no such configuration"
    configuration = LaunchConfiguration(
        name=spec.name if spec is not None else "published",
        boot_mode=launch.boot_mode,
        vcpus=launch.vcpus,
        vcpu_type=launch.vcpu_type,
        guest_features=launch.guest_features,
        vmm=launch.vmm,
        command_line=stated.command_line or "",
        origin=f"published documents; guest features and VMM {completed}",
        not_covered=[entry.model_dump() for entry in spec.not_covered] if spec is not None else [],
    )
    readable = {role: asset.path for role, asset in published.assets.items() if asset.problem is None}
    paths = {role: path for role, path in readable.items() if path is not None}
    recomputed, problem = _recompute(_measurable(paths), launch, stated.command_line)
    measurement = Measurement(
        launch_configuration=configuration,
        published=stated.value,
        recomputed=recomputed.hex if recomputed is not None else "",
        coverage=sorted(recomputed.coverage) if recomputed is not None else [],
        problem=problem.as_dict() if problem is not None else None,
    )
    return _Measured(configuration, measurement)


def _recompute(
    paths: dict[Role, Path], launch: Launch, command_line: str | None
) -> tuple[LaunchMeasurement | None, PortalError | None]:
    if command_line is None:
        return None, PortalError(
            f"no published document names the command line of the measurement ({MEASUREMENT_FILE} is absent)",
            where=MANIFEST_FILE,
            todo="Ask the publisher for expected-measurement.json.",
        )
    return measure_files(paths, launch, command_line)


def _measurable(paths: dict[Role, Path]) -> dict[Role, Path]:
    return {role: path for role, path in paths.items() if role in {Role.OVMF, Role.KERNEL, Role.INITRD}}


def _matching_spec(facts: SourceFacts | None, stated: _Stated) -> LaunchConfigurationSpec | None:
    if facts is None:
        return None
    wanted = (stated.boot_mode, stated.vcpus, stated.vcpu_type)
    specs = facts.recipe.launch_configurations
    return next((spec for spec in specs if (spec.boot_mode, spec.vcpus, spec.vcpu_type) == wanted), None)


def _record(release: Release, kind: str, detail: dict[str, str]) -> None:
    ReleaseEvent(release=release, kind=kind, detail=detail).save()


def _unstoppable() -> None:
    """An import runs to its end."""
