"""The API's shape of a digest: everywhere that it was seen."""

from __future__ import annotations

import uuid
from datetime import datetime

from ninja import Schema

from builds.models import Release
from builds.services.digest_page import DigestPage


class SeenIn(Schema):
    project: str
    tag: str


class PublishedAsOut(SeenIn):
    """``subject`` says what of the component the digest is of; ``contradicts`` that only its manifest says so."""

    role: str
    file_name: str
    member: str | None
    subject: str
    contradicts: bool


class RebuiltAsOut(SeenIn):
    """``not_counted`` says why the result is no evidence, and is empty when it may count."""

    role: str
    rebuild: uuid.UUID
    operator: str
    subject: str
    origin_kind: str
    origin: str
    not_counted: str
    finished_at: datetime | None


class FoundInOut(SeenIn):
    """A file inside rebuilt components, and how many operators listed it there."""

    role: str
    path: str
    size: int
    origin_kind: str
    origin: str
    operators: int


class EmbeddedInOut(SeenIn):
    """A file inside what was published that nobody can look into: opaque."""

    container: str
    path: str
    size: int
    is_elf: bool


class MaterialSeenOut(Schema):
    """What builds consume; ``size`` is null while nobody fetched it. ``used_by`` are releases that lock it."""

    name: str
    version: str
    architecture: str
    size: int | None
    authenticated: bool
    authenticity: str
    used_by: list[SeenIn]


class AcceptedByOut(Schema):
    project: str
    reason: str
    accepted_at: datetime


class DigestOut(Schema):
    """Each list is newest first and has at most ``most`` entries. That bytes were seen says nothing of what they do."""

    digest: str
    same_file: list[str]
    published: list[PublishedAsOut]
    rebuilt: list[RebuiltAsOut]
    files: list[FoundInOut]
    embedded: list[EmbeddedInOut]
    material: MaterialSeenOut | None
    accepted_by: list[AcceptedByOut]
    most: int


def digest_out(page: DigestPage) -> DigestOut:
    return DigestOut(
        digest=str(page.digest),
        same_file=[str(other) for other in page.same_file],
        published=_published(page),
        rebuilt=_rebuilt(page),
        files=[FoundInOut(**{name: row[name] for name in FoundInOut.model_fields}) for row in page.files],
        embedded=[
            EmbeddedInOut(
                **_place(row.release), container=row.container, path=row.path, size=row.size, is_elf=row.is_elf
            )
            for row in page.embedded
        ],
        material=_material(page),
        accepted_by=[
            AcceptedByOut(project=row.project.name, reason=row.reason, accepted_at=row.accepted_at)
            for row in page.accepted
        ],
        most=page.most,
    )


def _published(page: DigestPage) -> list[PublishedAsOut]:
    return [
        PublishedAsOut(
            **_place(row.component.release),
            role=row.component.role,
            file_name=row.component.file_name,
            member=row.component.member or None,
            subject=row.subject,
            contradicts=row.contradicts,
        )
        for row in page.published
    ]


def _rebuilt(page: DigestPage) -> list[RebuiltAsOut]:
    return [
        RebuiltAsOut(
            **_place(row.rebuild.release),
            role=row.component.role,
            rebuild=row.rebuild.pk,
            operator=row.rebuild.operator_name,
            subject=row.subject,
            origin_kind=row.component.origin_kind,
            origin=row.component.origin,
            not_counted=row.why_not,
            finished_at=row.rebuild.finished_at,
        )
        for row in page.rebuilt
    ]


def _material(page: DigestPage) -> MaterialSeenOut | None:
    found = page.material
    if found is None:
        return None
    return MaterialSeenOut(
        name=found.name,
        version=found.version,
        architecture=found.architecture,
        size=found.size,
        authenticated=found.authenticated,
        authenticity=found.authenticity,
        used_by=[SeenIn(**_place(release)) for release in page.material_of],
    )


def _place(release: Release) -> dict[str, str]:
    return {"project": release.project.name, "tag": release.tag}
