"""What a release is built from, grouped by who vouches for it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, Count, F, Min, Sum, Value, When

from builds.domain.vouchers import Voucher, voucher_of
from builds.models import Material, Release

PAGE_MATERIALS = 100
_GROUPS = 60


@dataclass(frozen=True, slots=True)
class MaterialGroup:
    """Materials that one signed index names; or one material by itself that none names, and then it has a name."""

    voucher: Voucher
    count: int
    bytes: int | None
    """None while the size of one of them is not known."""
    opaque: str
    """Name and version of the one material; "" for a group that an index vouches for."""
    sha256: str
    """Of that one material, "" for a group."""


@dataclass(frozen=True, slots=True)
class Materials:
    """Those that nobody vouches for come first. ``unlisted``: whether there are more groups than these."""

    groups: tuple[MaterialGroup, ...]
    count: int
    unlisted: bool


@dataclass(frozen=True, slots=True)
class MaterialsPage:
    """Materials by name, from the one behind ``after`` others; ``next`` is that of the next page or None."""

    release: Release
    rows: tuple[tuple[Material, Voucher], ...]
    after: int
    next: int | None


def materials_of(release: Release) -> Materials:
    """One query."""
    rows = list(
        release.materials.order_by()
        .annotate(label=Case(When(authenticated=True, then=Value("")), default=F("name")))
        .annotate(label_version=Case(When(authenticated=True, then=Value("")), default=F("version")))
        .values("authenticated", "authenticity", "label", "label_version")
        .annotate(count=Count("pk"), sized=Count("size"), bytes=Sum("size"), sha=Min("sha256"))
        .order_by("authenticated", "-count", "label")[: _GROUPS + 1]
    )
    groups = tuple(
        MaterialGroup(
            voucher=voucher_of(row["authenticity"]),
            count=row["count"],
            bytes=row["bytes"] if row["sized"] == row["count"] else None,
            opaque="" if row["authenticated"] else f"{row['label']} {row['label_version']}".strip(),
            sha256="" if row["authenticated"] else row["sha"],
        )
        for row in rows[:_GROUPS]
    )
    return Materials(groups, sum(group.count for group in groups), len(rows) > _GROUPS)


def materials_page(release: Release, after: int = 0) -> MaterialsPage:
    """Every material with its digest; those that nobody vouches for first. One query."""
    found = list(
        release.materials.order_by("authenticated", "name", "version", "pk")[after : after + PAGE_MATERIALS + 1]
    )
    rows = tuple((row, voucher_of(row.authenticity)) for row in found[:PAGE_MATERIALS])
    return MaterialsPage(release, rows, after, after + PAGE_MATERIALS if len(found) > PAGE_MATERIALS else None)
