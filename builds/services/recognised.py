"""Which release gives a launch measurement that nobody published: another vCPU count, CPU type or guest features."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Prefetch

from builds.domain.configuration import WantedConfiguration
from builds.domain.errors import PortalError
from builds.models import LaunchConfiguration, Release
from builds.services.configurations import configuration_giving
from builds.services.selecting import address_of

SEARCHED_RELEASES = 4


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
    """What was found, and in how many configurations of which releases it was looked for."""

    found: tuple[Recognised, ...]
    tried: int
    releases: tuple[Release, ...]
    """Those that something could be computed for, the newest first."""


def recognition_of(value: str) -> Recognition:
    """Compute what the newest releases give, and hold it against ``value``, 96 hex characters.

    Three statements, and one more for each release that is looked at: what was rebuilt of it is not read.
    """
    found, tried, looked_at = [], 0, []
    launches = Prefetch("launch_configurations", LaunchConfiguration.objects.select_related("measurement"))
    newest = Release.objects.select_related("project").prefetch_related("components", launches).in_order()
    for release in newest[:SEARCHED_RELEASES]:
        try:
            search = configuration_giving(release, value)
        except PortalError:
            # Its firmware was not kept, or a file of it is not known: nothing can be said of this one.
            continue
        tried += search.tried
        looked_at.append(release)
        if search.found is not None:
            address = address_of(release, search.found)
            found.append(Recognised(release, search.found, search.vcpu_types, address))
    return Recognition(tuple(found), tried, tuple(looked_at))
