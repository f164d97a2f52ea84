"""Every launch measurement that a release's files give, computed beforehand, so that one is found by its value."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from builds.domain.roles import BootMode
from builds.models.base import SHA256_HEX, choices
from builds.models.release import Release


class MeasurementSeries(models.Model):
    """The measurements of a release for 1, 2, ... vCPUs, everything else being the same."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="measurement_series")
    basis = models.CharField(max_length=64)
    """SHA-256 over everything that the digests follow from besides the release: files, command line, CPU, features."""
    boot_mode = models.CharField(max_length=20, choices=choices(BootMode))
    cpu_signature = models.PositiveIntegerField()
    """CPUID_Fn00000001_EAX, which several names of CPU types share."""
    guest_features = models.PositiveBigIntegerField()
    vmm = models.CharField(max_length=20)
    command_line = models.TextField(blank=True)
    digests = models.BinaryField()
    """48 bytes for each number of vCPUs."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["release", "basis"], name="measurement_series_once"),
            models.CheckConstraint(condition=Q(basis__regex=SHA256_HEX), name="measurement_series_basis"),
        ]

    def __str__(self) -> str:
        return f"{self.boot_mode} {self.cpu_signature:#x} {self.guest_features:#x} {self.vmm}"


class IndexedMeasurement(models.Model):
    """Where a measurement stands in its series. Rows are many, so that each holds only the value's first 8 bytes."""

    key = models.BigIntegerField(db_index=True)
    """Big-endian and signed, as both databases have it; the series has the whole value to compare with."""
    series = models.ForeignKey(MeasurementSeries, models.CASCADE, related_name="measurements")
    vcpus = models.PositiveSmallIntegerField()

    def __str__(self) -> str:
        return f"{self.vcpus} vCPUs"
