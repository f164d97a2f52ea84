"""Which release gives a launch measurement that nobody published: another vCPU count, CPU type or guest features."""

from __future__ import annotations

from dataclasses import dataclass

from builds.domain.configuration import WantedConfiguration
from builds.models import Release
from builds.services import measurement_index
from builds.services.measurement_index import IndexSize
from builds.services.selecting import address_of

MOST_CONFIGURATIONS = 20


@dataclass(frozen=True, slots=True)
class Recognised:
    """A release whose published files give the measurement with ``wanted``; ``address`` is where its page decides."""

    release: Release
    wanted: WantedConfiguration
    vcpu_types: tuple[str, ...]
    """The names that share the CPU signature, and with it the measurement."""
    address: str


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was found, and how much it was looked for in when that is nothing."""

    found: tuple[Recognised, ...]
    size: IndexSize | None


def recognition_of(value: str) -> Recognition:
    """What the index knows of ``value``, 96 hex characters: the newest releases first. Two statements."""
    hits = measurement_index.hits(value)[:MOST_CONFIGURATIONS]
    if not hits:
        return Recognition((), measurement_index.size())
    rows = Release.objects.select_related("project").only("tag", "project__name")
    releases = rows.in_bulk({hit.release_id for hit in hits})
    found = tuple(_recognised(releases[hit.release_id], hit) for hit in hits)
    return Recognition(found, None)


def _recognised(release: Release, hit: measurement_index.IndexHit) -> Recognised:
    return Recognised(release, hit.wanted, hit.vcpu_types, address_of(release, hit.wanted))
