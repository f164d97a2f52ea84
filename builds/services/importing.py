"""Imports a published release: what it says, what its files are, and what follows from both."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction

from builds.domain.digest import FileDigests
from builds.domain.errors import PortalError
from builds.domain.manifest import MANIFEST_FILE
from builds.domain.materials import lock_digest
from builds.domain.recipe import PublicationRecipe, Recipe
from builds.domain.roles import Role
from builds.domain.tags import git_tag
from builds.models import Component, EmbeddedFile, Measurement, Project, Release, ReleaseEvent
from builds.pipeline.published_release import Asset, Outside, PublishedRelease
from builds.pipeline.published_release import EmbeddedFile as PublishedFile
from builds.pipeline.release_directory import read_release_directory
from builds.services import measurement_index
from builds.services.kept_firmware import keep_firmware
from builds.services.material_records import record_materials
from builds.services.measuring import Measured, MeasurementUnplaced, measure_published
from builds.services.release_events import (
    CHANGED_SINCE_IMPORT,
    CONTRADICTION,
    MEASUREMENT_UNPLACED,
    REUSED_FROM,
    evidence_changed,
)
from builds.services.source_facts import (
    SourceFacts,
    build_info_of,
    commit_of_tag,
    source_facts,
    unstoppable,
)


class ReleaseChanged(PortalError):
    """The tag was imported before, with another document or file, or its tag names another commit in the source."""

    code: ClassVar[str] = "release-changed"
    default_todo: ClassVar[str] = (
        "What was first seen is kept and shown with this event. Ask the publisher why a published release changed."
    )


class CommitMisstated(PortalError):
    """Whoever imports a known release names another commit than it has: that is their word, and no change of it."""

    code: ClassVar[str] = "commit-misstated"
    default_todo: ClassVar[str] = "Give the commit that the release was built from, or none; nothing was changed."


class ReleaseMisnamed(PortalError):
    """Files that are given out under one tag and say that they are another release."""

    code: ClassVar[str] = "release-misnamed"
    default_todo: ClassVar[str] = "Give the tag that the documents name, or ask the publisher which release this is."


def import_release(
    project: Project,
    directory: Path,
    *,
    tag: str | None = None,
    commit: str | None = None,
    commit_is_sources: bool = False,
    confirm: Callable[[], None] = unstoppable,
) -> Release:
    """Import a release directory. Importing the same document again changes nothing.

    ``tag`` and ``commit`` are what the importer knows from outside. A manifest names both itself: another tag is
    refused, another commit is a contradiction. Build-info names neither, so that the tag is needed and the commit is
    asked of the source when it is not given. ``commit_is_sources`` says that the source names the given one, so that
    another one than before is a change; else it is the importer's word, which changes nothing. ``confirm`` is called
    between reading the files and storing what they say; it raises when they may not have been whole meanwhile.

    Raises that, the named errors of ``read_release_directory``, of the source for the commit, ``ReleaseChanged``,
    ``CommitMisstated``, ``ReleaseMisnamed`` and ``ReservedTag``; then nothing is imported. A source or materials that
    cannot be had are recorded as an event instead: the release stays visible, and a rebuild says the same.
    """
    outside = Outside(tag, commit, lambda name: commit_of_tag(project, name))
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.WORK_DIR, prefix="import-") as work:
        most = settings.ENVIRONMENT.max_asset_bytes
        published = read_release_directory(directory, most, outside=outside, work=Path(work), check=unstoppable)
        git_tag(published.tag, where=published.document_name)
        if tag is not None and tag != published.tag:
            raise ReleaseMisnamed(f"imported as tag {tag}, {published.document_name} says {published.tag}", where=tag)
        known = Release.objects.filter(project=project, tag=published.tag).first()
        if known is not None:
            confirm()
            return _seen_before(known, published, None if commit_is_sources else commit)
        keep_firmware(published)
        facts, problem = source_facts(project, published.commit, published.tag)
        measured = measure_published(published, facts)
    confirm()
    release = _store(project, directory.name, published, facts, measured)
    measurement_index.fill_soon(release)
    record_materials(release, facts, problem, published.packages)
    return release


def import_beside_others(
    project: Project,
    directory: Path,
    *,
    tag: str | None = None,
    commit: str | None = None,
    commit_is_sources: bool = False,
    confirm: Callable[[], None] = unstoppable,
) -> Release:
    """``import_release`` while others may import the same: whoever comes second is compared with what is there."""
    for_it = partial(
        import_release, project, directory, tag=tag, commit=commit, commit_is_sources=commit_is_sources, confirm=confirm
    )
    try:
        return for_it()
    except IntegrityError:
        return for_it()


def store_materials(release: Release) -> bool:
    """Read the source and keep the materials of a release whose source nobody could read when it was imported.

    The outcome is recorded as an event; True when the materials are stored.
    """
    facts, problem = source_facts(release.project, release.commit, release.tag)
    if release.commit_time is None:
        # Nobody could read the source when it was imported; what it says is what rebuilds are held against.
        Release.objects.filter(pk=release.pk).update(**_source_fields(facts))
    info = build_info_of(release)
    return record_materials(release, facts, problem, info.packages if info is not None else ())


def _store(
    project: Project,
    directory_name: str,
    published: PublishedRelease,
    facts: SourceFacts | None,
    measured: Measured | MeasurementUnplaced | None,
) -> Release:
    with transaction.atomic():
        release = Release.objects.create(
            project=project,
            tag=published.tag,
            commit=published.commit,
            source_date_epoch=published.source_date_epoch,
            manifest=published.document_bytes,
            manifest_sha256=hashlib.sha256(published.document_bytes).hexdigest(),
            document_name=published.document_name,
            **_source_fields(facts),
        )
        _record(release, "imported", {"directory": directory_name})
        for sentence in (*published.contradictions, *_epoch_contradictions(published, facts)):
            _record(release, CONTRADICTION, {"sentence": sentence})
        for reused in published.reused:
            _record(release, REUSED_FROM, {"key": reused.key, "role": reused.role or "", "origin": reused.origin})
        for asset in published.assets.values():
            _component(release, asset).save()
        for file in published.embedded:
            _embedded_file(release, file).save()
        match measured:
            case Measured():
                measured.save(release)
            case MeasurementUnplaced():
                _record(release, MEASUREMENT_UNPLACED, measured.as_dict())
    return release


def _seen_before(known: Release, published: PublishedRelease, named: str | None) -> Release:
    """The same document, commit and files are the same release; anything else is an event and an error.

    ``named`` is the commit by the importer's word alone: another one than the release's is refused without an event.
    """
    what = _change(known, published, named)
    if what:
        error = ReleaseChanged(what, where=str(known))
        _record(known, CHANGED_SINCE_IMPORT, error.as_dict())
        evidence_changed(known)
        raise error
    if named is not None and named != known.commit:
        told = f"{known.tag} was announced as of commit {named} and is known as of {known.commit}"
        raise CommitMisstated(f"{told}, with the same published bytes", where=str(known))
    keep_firmware(published)
    _place_measurement(known, published)
    # Its firmware may be kept only now, or its launch configuration known.
    measurement_index.fill_soon(known)
    _name_base(known)
    if known.materials_stored_at is None and known.commit_time is None:
        store_materials(known)
    return known


def _change(known: Release, published: PublishedRelease, named: str | None) -> str:
    """What is another than at the import by the word of publication or source; "" when nothing is."""
    seen = f"{known.document_name} sha256:{known.manifest_sha256}"
    now = f"{published.document_name} sha256:{hashlib.sha256(published.document_bytes).hexdigest()}"
    # A document that names no commit has the importer's, where one was given.
    if published.document_name == MANIFEST_FILE or named is None:
        seen, now = f"{seen} of commit {known.commit}", f"{now} of commit {published.commit}"
    if seen != now:
        return f"{known.tag} was imported with {seen}; this one is {now}"
    if changed := _changed_files(known, published):
        return f"files of {known.tag} are others than when it was imported: {', '.join(changed)}"
    if said := _new_sentences(known, published, named):
        return f"{known.tag} says something else than when it was imported: {' '.join(said)}"
    return ""


def _changed_files(known: Release, published: PublishedRelease) -> list[str]:
    """Components whose digest was known before and is another one now, and those that were not published before.

    A digest that was not known cannot change.
    """
    before = {Role(component.role) for component in known.components.all()}
    changed = [role.value for role, asset in published.assets.items() if role not in before]
    for component in known.components.all():
        asset = published.assets.get(Role(component.role))
        if asset is None:
            continue
        pairs = (
            (component.sha256, asset.published.content),
            (component.container_sha256, asset.published.container),
        )
        if any(before and found is not None and found.sha256.hex != before for before, found in pairs):
            changed.append(component.role)
    return changed


def _new_sentences(known: Release, published: PublishedRelease, named: str | None) -> list[str]:
    """Contradictions that were none at the import, and another published measurement.

    A contradiction of the commit ``named`` is none of the publication.
    """
    events = known.events.filter(kind=CONTRADICTION)
    told = {event.detail["sentence"] for event in events}
    if named is not None:
        told |= set(published.of_commit)
    found = [sentence for sentence in published.contradictions if sentence not in told]
    before = set(
        Measurement.objects.filter(launch_configuration__release=known).values_list("published", flat=True)
    ) - {""}
    stated = published.measurement
    if before and stated is not None and stated.value not in before:
        found.append(f"The published launch measurement was {', '.join(sorted(before))}, is {stated.value}.")
    return found


def _place_measurement(known: Release, published: PublishedRelease) -> None:
    """Complete a release whose measurement could not be placed, once its recipe can be read."""
    if known.launch_configurations.exists() or not known.events.filter(kind=MEASUREMENT_UNPLACED).exists():
        return
    facts, _ = source_facts(known.project, known.commit, known.tag)
    measured = measure_published(published, facts)
    if isinstance(measured, Measured):
        with transaction.atomic():
            measured.save(known)
            Release.objects.filter(pk=known.pk).update(**_source_fields(facts))
        known.refresh_from_db()


def _name_base(known: Release) -> None:
    """Learn which base image the recipe pulls, of a release that was imported before that was kept."""
    if not known.needs_registry or known.base_image:
        return
    facts, _ = source_facts(known.project, known.commit, known.tag)
    if facts is not None:
        Release.objects.filter(pk=known.pk).update(base_image=_needs_fields(facts.found.recipe).get("base_image", ""))
        evidence_changed(known)


def _source_fields(facts: SourceFacts | None) -> dict[str, Any]:
    """What the source said when the release was read; nothing when it could not be read.

    Rebuilds are held against it: the recipe, the components it makes, the lock's materials, the commit's time.
    """
    if facts is None:
        return {}
    found = facts.found
    fields: dict[str, Any] = {
        "commit_time": facts.commit_time,
        "recipe_origin": found.origin,
        "recipe_sha256": found.sha256,
        "lock_sha256": lock_digest(facts.lock.material_digests) if facts.lock is not None else "",
        **_needs_fields(found.recipe),
    }
    if found.maintained is not None:
        fields |= {"recipe_author": found.maintained.author, "portal_recipe": found.maintained.text}
    return fields


def _needs_fields(recipe: Recipe | PublicationRecipe) -> dict[str, Any]:
    if isinstance(recipe, PublicationRecipe):
        return {"recipe_roles": []}
    needs = recipe.needs_of_a_machine
    return {
        "recipe_roles": sorted(role.value for role in recipe.components),
        "recipe_format": needs.recipe_format,
        "needs_memory_bytes": needs.memory_bytes,
        "needs_disk_bytes": needs.disk_bytes,
        "needs_network": needs.network,
        "needs_registry": needs.registry,
        "base_image": recipe.base.image or "",
    }


def _epoch_contradictions(published: PublishedRelease, facts: SourceFacts | None) -> list[str]:
    stated = published.source_date_epoch
    if facts is None or facts.commit_time == stated:
        return []
    if published.document_name == MANIFEST_FILE:
        return [f"The manifest's source_date_epoch is {stated}, the commit's time is {facts.commit_time}."]
    return [f"SOURCE_DATE_EPOCH in {published.document_name} is {stated}, the commit's time is {facts.commit_time}."]


def _component(release: Release, asset: Asset) -> Component:
    published = asset.published
    return Component(
        release=release,
        role=published.role,
        file_name=asset.file_name,
        member=asset.member,
        container_kind=asset.container_kind,
        claimed_digest=str(published.claimed) if published.claimed is not None else "",
        claim_subject=published.claim_subject,
        problem=asset.problem.as_dict() if asset.problem is not None else None,
        **_digest_fields("", published.content),
        **_digest_fields("container_", published.container),
    )


def _embedded_file(release: Release, file: PublishedFile) -> EmbeddedFile:
    return EmbeddedFile(
        release=release,
        container=file.container,
        path=file.path,
        size=file.content.size,
        sha256=file.content.sha256.hex,
        sha384=file.content.sha384.hex,
        is_elf=file.is_elf,
    )


def _digest_fields(prefix: str, digests: FileDigests | None) -> dict[str, int | str]:
    if digests is None:
        return {}
    return {
        f"{prefix}size": digests.size,
        f"{prefix}sha256": digests.sha256.hex,
        f"{prefix}sha384": digests.sha384.hex,
    }


def _record(release: Release, kind: str, detail: dict[str, str]) -> None:
    ReleaseEvent(release=release, kind=kind, detail=detail).save()
