"""Keeps a release's materials: fetches what its lock names, and says by name what could not be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from builds.domain.build_info import NamedPackage
from builds.domain.errors import PortalError
from builds.domain.materials import MaterialsLock
from builds.models import Material, Release, ReleaseEvent
from builds.pipeline.archive_evidence import authenticate
from builds.services import workshop
from builds.services.release_events import MATERIALS_FAILED, MATERIALS_STORED
from builds.services.source_facts import SourceFacts, unstoppable


class MaterialsNotFetched(PortalError):
    """Materials are known by their digests, and nothing says where their bytes are."""

    code: ClassVar[str] = "materials-not-fetched"
    default_todo: ClassVar[str] = (
        "A recipe with a lock says where each package is; without one nobody can rebuild this."
    )


def record_materials(
    release: Release, facts: SourceFacts | None, problem: PortalError | None, packages: Sequence[NamedPackage]
) -> bool:
    """Fetch and keep what the lock names, list what only ``packages`` names; the outcome is an event.

    False when any material's bytes could not be stored. ``problem`` is what kept ``facts`` away.
    """
    if facts is None:
        _list_unfetched(release, packages)
        return _failed(release, problem)
    if facts.lock_problem is not None:
        return _failed(release, facts.lock_problem)
    if facts.lock is None:
        _list_unfetched(release, packages)
        return _failed(release, _not_fetched(release, packages))
    return _store_locked(release, facts.lock)


def _failed(release: Release, problem: PortalError | None) -> bool:
    ReleaseEvent(release=release, kind=MATERIALS_FAILED, detail=problem.as_dict() if problem is not None else {}).save()
    return False


def _not_fetched(release: Release, packages: Sequence[NamedPackage]) -> MaterialsNotFetched:
    where = release.document_name
    if not packages:
        return MaterialsNotFetched("the recipe has no lock, and no published document names a material", where=where)
    listed = ", ".join(f"{package.name} {package.version} ({package.digest})" for package in packages)
    return MaterialsNotFetched(f"materials are named by their digests only and were not fetched: {listed}", where=where)


def _list_unfetched(release: Release, packages: Sequence[NamedPackage]) -> None:
    with transaction.atomic():
        for package in packages:
            material, _ = Material.objects.get_or_create(
                sha256=package.digest.hex,
                defaults={
                    "name": package.name,
                    "version": package.version,
                    "authenticity": f"no signed index names it: only {release.document_name} does,"
                    " and its bytes were not fetched",
                },
            )
            release.materials.add(material)


def _store_locked(release: Release, lock: MaterialsLock) -> bool:
    try:
        workshop.store().ensure(lock.packages, workshop.mirror(), unstoppable)
    except PortalError as error:
        return _failed(release, error)
    trust = authenticate(lock, workshop.store(), settings.ARCHIVE_KEYRING, mirror=workshop.mirror(), check=unstoppable)
    with transaction.atomic():
        for package in lock.packages:
            authenticity = trust[package.sha256]
            facts = {
                "name": package.name,
                "version": package.version,
                "architecture": package.architecture,
                "suite": package.suite or "",
                "size": package.size,
                "authenticated": authenticity.authenticated,
                "authenticity": authenticity.sentence,
            }
            material, is_new = Material.objects.get_or_create(sha256=package.sha256, defaults=facts)
            if not is_new:
                # Known by its digest only so far: another release named it without saying where it is.
                Material.objects.filter(pk=material.pk, size__isnull=True).update(**facts)
            release.materials.add(material)
        Release.objects.filter(pk=release.pk).update(materials_stored_at=timezone.now())
        ReleaseEvent(release=release, kind=MATERIALS_STORED, detail={"packages": str(len(lock.packages))}).save()
    return True
