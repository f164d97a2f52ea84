"""Everywhere that one digest was seen: published, rebuilt, inside components, and among what builds consume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Max, Q

from builds.domain.digest import Algorithm, Digest
from builds.models import (
    AcceptedOpaqueInput,
    Component,
    EmbeddedFile,
    Material,
    Rebuild,
    RebuiltComponent,
    RebuiltFile,
    Release,
)
from builds.services.consensus import not_counted

MOST_SHOWN = 50
MOST_LOOKED_AT = 1000
"""A small file may lie in every rebuild; the newest so many places are read."""


@dataclass(frozen=True, slots=True)
class PublishedAs:
    """A published component with this digest, and what of it the digest is of."""

    component: Component
    subject: str
    contradicts: bool
    """Whether the digest is only what the manifest names, and the published file has another one."""


@dataclass(frozen=True, slots=True)
class RebuiltAs:
    """A component that an operator made with this digest; ``why_not`` is "" when its result counts."""

    component: RebuiltComponent
    rebuild: Rebuild
    subject: str
    why_not: str


@dataclass(frozen=True, slots=True)
class DigestPage:
    """Where a digest was seen, each list newest first and bounded by ``MOST_SHOWN``."""

    digest: Digest
    published: tuple[PublishedAs, ...]
    rebuilt: tuple[RebuiltAs, ...]
    files: tuple[dict[str, Any], ...]
    """Places inside rebuilt components: release, role, path, size, origin, and how many operators found it there."""
    embedded: tuple[EmbeddedFile, ...]
    material: Material | None
    material_of: tuple[Release, ...]
    accepted: tuple[AcceptedOpaqueInput, ...]

    @property
    def is_known(self) -> bool:
        seen = (self.published, self.rebuilt, self.files, self.embedded, self.accepted)
        return self.material is not None or any(seen)

    @property
    def same_file(self) -> tuple[Digest, ...]:
        """Other digests of the same bytes, as far as somebody here has hashed them."""
        rows: list[Component | RebuiltComponent] = [row.component for row in self.published]
        rows += [row.component for row in self.rebuilt]
        known = {digest for row in rows for pair in _pairs(row) if self.digest in pair for digest in pair}
        return tuple(sorted(known - {self.digest}))

    @property
    def most(self) -> int:
        return MOST_SHOWN


def digest_page(digest: Digest) -> DigestPage:
    """Everything that is known of a digest, in a constant number of queries."""
    short = digest.hex if digest.algorithm is Algorithm.SHA256 else ""
    material = Material.objects.filter(sha256=short).first() if short else None
    using = material.releases.select_related("project").only("tag", "project__name").order_by("-pk") if material else ()
    accepted = AcceptedOpaqueInput.objects.filter(sha256=short).select_related("project") if short else ()
    return DigestPage(
        digest=digest,
        published=_published(digest),
        rebuilt=_rebuilt(digest),
        files=_files(short) if short else (),
        embedded=_embedded(digest),
        material=material,
        material_of=tuple(using[:MOST_SHOWN]),
        accepted=tuple(accepted[:MOST_SHOWN]),
    )


def _of(digest: Digest) -> Q:
    """Columns of both tables of components that can hold it; none for an algorithm that nobody computes here."""
    if digest.algorithm is Algorithm.SHA512:
        return Q(pk__in=())
    name = digest.algorithm.value
    return Q(**{name: digest.hex}) | Q(**{f"container_{name}": digest.hex})


def _published(digest: Digest) -> tuple[PublishedAs, ...]:
    rows = Component.objects.filter(_of(digest) | Q(claimed_digest=str(digest))).select_related("release__project")
    return tuple(
        _published_as(row, digest) for row in rows.defer("release__manifest").order_by("-release", "role")[:MOST_SHOWN]
    )


def _published_as(row: Component, digest: Digest) -> PublishedAs:
    content, container = _pairs(row)
    if digest in content:
        return PublishedAs(row, "the component itself", contradicts=False)
    if digest in container:
        return PublishedAs(row, f"the {row.container_kind or 'file'} that it is published in", contradicts=False)
    named = f"what the manifest names for the {row.claim_subject}"
    return PublishedAs(row, named, contradicts=bool(row.sha256 or row.container_sha256))


def _rebuilt(digest: Digest) -> tuple[RebuiltAs, ...]:
    rows = (
        RebuiltComponent.objects.filter(_of(digest))
        .select_related("rebuild__release__project", "rebuild__rebuilder__operator")
        .select_related("rebuild__statement__key", "rebuild__set_aside")
        .defer("rebuild__release__manifest", "rebuild__statement__content", "rebuild__statement__key__enrolment")
        .prefetch_related("rebuild__release__project__affiliations")
        .order_by("-pk")
    )
    return tuple(
        RebuiltAs(
            row,
            row.rebuild,
            "the component itself" if digest in _pairs(row)[0] else "the file that it would be published in",
            not_counted(row.rebuild, row.rebuild.release),
        )
        for row in rows[:MOST_SHOWN]
    )


def _files(sha256: str) -> tuple[dict[str, Any], ...]:
    newest = RebuiltFile.objects.filter(sha256=sha256).order_by("-pk").values("pk")[:MOST_LOOKED_AT]
    told = ("role", "path", "size", "origin_kind", "origin")
    places = (
        RebuiltFile.objects.filter(pk__in=newest)
        .order_by()
        .values(*told, project=F("rebuild__release__project__name"), tag=F("rebuild__release__tag"))
        .annotate(operators=Count("rebuild__rebuilder__operator", distinct=True), newest=Max("pk"))
        .order_by("-newest")
    )
    return tuple(dict(row) for row in places[:MOST_SHOWN])


def _embedded(digest: Digest) -> tuple[EmbeddedFile, ...]:
    if digest.algorithm is Algorithm.SHA512:
        return ()
    rows = EmbeddedFile.objects.filter(**{digest.algorithm.value: digest.hex}).select_related("release__project")
    return tuple(rows.defer("release__manifest").order_by("-pk")[:MOST_SHOWN])


def _pairs(row: Component | RebuiltComponent) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
    """The digests of the component, and those of its container, as far as they are known."""
    return _known(row.sha256, row.sha384), _known(row.container_sha256, row.container_sha384)


def _known(sha256: str, sha384: str) -> tuple[Digest, ...]:
    return (Digest.sha256(sha256), Digest.sha384(sha384)) if sha256 and sha384 else ()
