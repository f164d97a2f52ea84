"""What a rebuild gave: the signed statement as it came, and its components, files and measurements as rows."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from builds.domain.origins import OriginKind
from builds.domain.roles import Role
from builds.models.base import SHA256_HEX, SHA384_HEX, AppendOnly, choices, hex_or_empty, tail
from builds.models.operator import RebuilderKey
from builds.models.rebuild import Rebuild
from builds.models.release import LaunchConfiguration


class StoredStatement(AppendOnly):
    """A rebuilder's signed statement, byte for byte as it was received. What counts is derived from it."""

    rebuild = models.OneToOneField(Rebuild, models.CASCADE, related_name="statement")
    key = models.ForeignKey(RebuilderKey, models.PROTECT, related_name="statements")
    content = models.BinaryField()
    """The envelope or bundle as received."""
    payload_sha256 = models.CharField(max_length=64, unique=True)
    """Of the payload that was signed: one statement is one row, however it is wrapped and however often it comes."""
    invocation_id = models.UUIDField(unique=True)
    log_sha256 = models.CharField(max_length=64)
    finished_on = models.DateTimeField()
    """When the rebuild ended, as signed."""
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(payload_sha256__regex=SHA256_HEX) & Q(log_sha256__regex=SHA256_HEX),
                name="statement_digests",
            ),
        ]

    def __str__(self) -> str:
        return f"sha256:{self.payload_sha256}"

    def get_absolute_url(self) -> str:
        return reverse("statement", args=[self.payload_sha256])


class ResultSetAside(AppendOnly):
    """An administrator's public, dated reason not to count a result any more."""

    rebuild = models.OneToOneField(Rebuild, models.CASCADE, related_name="set_aside")
    reason = models.TextField()
    by = models.CharField(max_length=200)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason="") & ~Q(by=""), name="set_aside_with_reason"),
        ]

    def __str__(self) -> str:
        return self.reason


class RebuiltComponent(AppendOnly):
    """One component that a rebuild made, with the origin of its bytes."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="components")
    role = models.CharField(max_length=20, choices=choices(Role))
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    sha384 = models.CharField(max_length=96)
    container_sha256 = models.CharField(max_length=64, blank=True)
    container_sha384 = models.CharField(max_length=96, blank=True)
    container_size = models.PositiveBigIntegerField(null=True)
    origin_kind = models.CharField(max_length=20, choices=choices(OriginKind))
    origin = models.CharField(max_length=1000)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["sha256"], name="rebuilt_component_sha256"),
            models.Index(fields=["sha384"], name="rebuilt_component_sha384"),
            models.Index(fields=["container_sha256"], name="rebuilt_container_sha256"),
            models.Index(fields=["container_sha384"], name="rebuilt_container_sha384"),
            models.Index(tail("sha256", 64), name="rebuilt_component_sha256_end"),
            models.Index(tail("sha384", 96), name="rebuilt_component_sha384_end"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "role"], name="rebuilt_component_once"),
            models.CheckConstraint(
                condition=Q(sha256__regex=SHA256_HEX) & Q(sha384__regex=SHA384_HEX), name="rebuilt_component_digests"
            ),
        ]

    def __str__(self) -> str:
        return self.role


class RebuiltFile(AppendOnly):
    """One file inside a rebuilt initrd, with the origin of its bytes."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="files")
    role = models.CharField(max_length=20, choices=choices(Role))
    path = models.CharField(max_length=1000)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    origin_kind = models.CharField(max_length=20, choices=choices(OriginKind))
    origin = models.CharField(max_length=1000)

    class Meta:
        ordering: ClassVar = ["role", "path"]
        indexes: ClassVar = [models.Index(fields=["sha256"], name="rebuilt_file_by_sha256")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "role", "path"], name="rebuilt_file_once"),
            models.CheckConstraint(condition=Q(sha256__regex=SHA256_HEX), name="rebuilt_file_sha256"),
        ]

    def __str__(self) -> str:
        return self.path


class RebuiltMeasurement(AppendOnly):
    """The launch measurement computed from the rebuilt files for one launch configuration."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="measurements")
    launch_configuration = models.ForeignKey(LaunchConfiguration, models.CASCADE, related_name="rebuilt_measurements")
    value = models.CharField(max_length=96, blank=True)
    problem = models.JSONField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["value"], name="rebuilt_measurement_value"),
            models.Index(tail("value", 96), name="rebuilt_measurement_end"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "launch_configuration"], name="rebuilt_measurement_once"),
            models.CheckConstraint(condition=hex_or_empty("value", SHA384_HEX), name="rebuilt_measurement_hex"),
        ]

    def __str__(self) -> str:
        return self.value
