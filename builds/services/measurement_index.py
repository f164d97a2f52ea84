"""The index of launch measurements: filled when a release is imported, and asked by value.

Of each release it holds every CPU signature with 1 to ``MOST_VCPUS`` vCPUs, for the command lines, guest features and
VMMs that its project published, with kernel and initrd and with firmware alone.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db import connection, transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from builds.domain.configuration import SNP_ONLY, VMMS, WantedConfiguration
from builds.domain.errors import PortalError
from builds.domain.launch import LaunchConfiguration, Vmm
from builds.domain.roles import BootMode
from builds.kept_statements import kept
from builds.models import IndexedMeasurement, MeasurementSeries, Release
from builds.models import LaunchConfiguration as StoredConfiguration
from builds.pipeline.measurement import KernelHashesUnsupported, vcpu_types_by_signature
from builds.services.configurations import Basis, ComponentNotKnown, basis_of, calculator_of

logger = logging.getLogger(__name__)

MOST_VCPUS = 128
MOST_COMBINATIONS = 12
"""Of files, command line, guest features and VMM for one release; each is computed for every CPU signature."""
_MOST_OF_EACH = 4
_ROWS_READ = 100
_SIBLINGS = 20
_DIGEST_BYTES = 48


@dataclass(frozen=True, slots=True)
class Combination:
    """What a measurement follows from besides the processors."""

    basis: Basis
    guest_features: int
    vmm: Vmm


@dataclass(frozen=True, slots=True)
class IndexHit:
    """A configuration of a release that gives a value; ``vcpu_types`` share the CPU signature, and so the value."""

    release_id: int
    wanted: WantedConfiguration
    cpu_signature: int
    vcpu_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexSize:
    """How much the index holds."""

    configurations: int
    releases: int


def fill(release_id: int) -> int:
    """Add what the index lacks of one release; how many configurations were added.

    A release of which nothing can be computed (its firmware is not kept, a file of it is not known) is done with
    none. Another release's new command line, guest features or VMM makes the newest of its project due again.
    """
    with transaction.atomic():
        release = Release.objects.select_for_update().get(pk=release_id)
        added = [_add(release, *entry) for entry in _missing(release)]
        Release.objects.filter(pk=release.pk).update(measurements_indexed_at=timezone.now())
    return sum(added)


def fill_soon(release: Release) -> None:
    """Fill for a release that was just imported, and make its siblings due if it brought something new to them."""
    own = release.launch_configurations.values_list("command_line", "guest_features", "vmm")
    others = StoredConfiguration.objects.filter(release__project=release.project_id).exclude(release=release.pk)
    known = set(others.order_by("-pk").values_list("command_line", "guest_features", "vmm")[:_ROWS_READ])
    if not known.issuperset(own):
        siblings = Release.objects.filter(project=release.project_id).exclude(pk=release.pk).order_by("-pk")
        due = list(siblings.values_list("pk", flat=True)[:_SIBLINGS])
        Release.objects.filter(pk__in=due).update(measurements_indexed_at=None)
    fill(release.pk)


def fill_due(most: int) -> int:
    """Fill for up to ``most`` releases that wait for it, the newest first; how many were filled."""
    due = Release.objects.filter(measurements_indexed_at=None).order_by("-pk").values_list("pk", flat=True)
    filled = list(due[:most])
    for pk in filled:
        fill(pk)
    return len(filled)


def hits(value: str, releases: Collection[int] | None = None) -> tuple[IndexHit, ...]:
    """Every indexed configuration that gives ``value``, 96 hex characters; of the newest releases first, or of
    ``releases`` alone, by primary key.

    One statement. It is the files' word alone: what is known against the release is not looked at.
    """
    raw = bytes.fromhex(value)
    found = rows_of(value) if releases is None else rows_of(value).filter(series__release__in=releases)
    rows = found.order_by("-series__release", "series", "vcpus").select_related("series")
    return tuple(_hit(row.series, row.vcpus) for row in rows if digests_in(row.series)[row.vcpus - 1] == raw)


def rows_of(value: str) -> QuerySet[IndexedMeasurement]:
    """Rows that may be of ``value``: its first 8 bytes are theirs."""
    return IndexedMeasurement.objects.filter(key=key_of(bytes.fromhex(value)))


def state_of(value: str) -> str:
    """What an answer about ``value`` follows from, to tell whether one that was kept still holds; "" without hits.

    One statement. New evidence of any release that gives the value makes it another text.
    """
    with connection.cursor() as cursor:
        cursor.execute(*kept(_states, key_of(bytes.fromhex(value))))
        return ",".join(f"{pk}:{changed_at}" for pk, changed_at in cursor.fetchall())


def _states(key: int) -> QuerySet[IndexedMeasurement, Any]:
    rows = IndexedMeasurement.objects.filter(key=key).order_by("pk")
    return rows.values_list("pk", "series__release__evidence_changed_at")


def size() -> IndexSize:
    """One statement."""
    counted = MeasurementSeries.objects.aggregate(series=Count("pk"), releases=Count("release", distinct=True))
    return IndexSize(counted["series"] * MOST_VCPUS, counted["releases"])


def _hit(series: MeasurementSeries, vcpus: int) -> IndexHit:
    names = vcpu_types_by_signature()[series.cpu_signature]
    launch = LaunchConfiguration(
        BootMode(series.boot_mode), vcpus, names[0], series.guest_features, cast("Vmm", series.vmm)
    )
    wanted = WantedConfiguration(launch, series.command_line)
    return IndexHit(series.release_id, wanted, series.cpu_signature, names)


def digests_in(series: MeasurementSeries) -> list[bytes]:
    """For 1, 2, ... vCPUs."""
    raw = bytes(series.digests)
    return [raw[start : start + _DIGEST_BYTES] for start in range(0, len(raw), _DIGEST_BYTES)]


def key_of(raw: bytes) -> int:
    """What ``IndexedMeasurement`` has of a value of 48 bytes."""
    return int.from_bytes(raw[:8], signed=True)


def _missing(release: Release) -> list[tuple[Combination, int, str]]:
    """Combinations with each CPU signature that the index has none of; not more than a release may have in all."""
    try:
        wanted = _combinations(release)
    except PortalError as error:
        logger.info("no measurement of %s can be indexed: %s", release, error)
        return []
    known = set(release.measurement_series.values_list("basis", flat=True))
    signatures = vcpu_types_by_signature()
    places = MOST_COMBINATIONS * len(signatures) - len(known)
    lacking = (
        (combination, signature, basis)
        for combination, signature in itertools.product(wanted, signatures)
        if (basis := _basis_name(combination, signature)) not in known
    )
    return list(itertools.islice(lacking, max(places, 0)))


def _add(release: Release, combination: Combination, signature: int, basis: str) -> int:
    computed = calculator_of(combination.basis).digests(
        vcpu_types_by_signature()[signature][0], combination.guest_features, combination.vmm, MOST_VCPUS
    )
    digests = [bytes.fromhex(digest) for digest in computed]
    series = MeasurementSeries.objects.create(
        release=release,
        basis=basis,
        boot_mode=combination.basis.boot_mode,
        cpu_signature=signature,
        guest_features=combination.guest_features,
        vmm=combination.vmm,
        command_line=combination.basis.command_line,
        digests=b"".join(digests),
    )
    IndexedMeasurement.objects.bulk_create(
        IndexedMeasurement(key=key_of(digest), series=series, vcpus=vcpus) for vcpus, digest in enumerate(digests, 1)
    )
    return len(digests)


def _basis_name(combination: Combination, signature: int) -> str:
    basis = combination.basis
    parts = (str(basis.ovmf), str(basis.kernel), str(basis.initrd), basis.command_line)
    known = (*parts, str(signature), str(combination.guest_features), combination.vmm)
    return hashlib.sha256("\0".join(known).encode()).hexdigest()


def _combinations(release: Release) -> list[Combination]:
    """What is indexed: the release's own values first, then those of the project's other releases."""
    values = ("command_line", "guest_features", "vmm")
    own = list(release.launch_configurations.values_list(*values))
    others = StoredConfiguration.objects.filter(release__project=release.project_id).exclude(release=release.pk)
    rows = [*own, *others.order_by("-pk").values_list(*values)[:_ROWS_READ], (None, SNP_ONLY, VMMS[0])]
    lines, all_features, all_vmms = zip(*rows, strict=True)
    bases = [*_direct_bases(release, lines), basis_of(release, BootMode.UEFI_DISK, "")]
    calculator_of(bases[-1])
    # Every command line and none with the likeliest features and VMM, before any with others.
    found = itertools.product(_first(all_features), _first(all_vmms), bases)
    return [Combination(basis, features, vmm) for features, vmm, basis in itertools.islice(found, MOST_COMBINATIONS)]


def _direct_bases(release: Release, command_lines: Sequence[str | None]) -> list[Basis]:
    """None when the release has no kernel or its firmware cannot bind one."""
    lines = [line for line in _first(command_lines) if line is not None]
    try:
        bases = [basis_of(release, BootMode.DIRECT_KERNEL, line) for line in lines]
        for basis in bases:
            calculator_of(basis)
    except (ComponentNotKnown, KernelHashesUnsupported):
        return []
    return bases


def _first[Value](values: Sequence[Value]) -> list[Value]:
    """The first few different ones."""
    return list(dict.fromkeys(values))[:_MOST_OF_EACH]
