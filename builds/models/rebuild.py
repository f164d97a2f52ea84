"""What rebuilds made of it: runs, stages, logs, and the components, files and measurements they give."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from builds.domain.lifecycle import LIVE_STATES, RunState, StageState
from builds.domain.origins import OriginKind
from builds.domain.roles import Role
from builds.models.base import SHA256_HEX, SHA384_HEX, AppendOnly, choices, hex_or_empty
from builds.models.release import LaunchConfiguration, Release
from builds.querysets import RebuildQuerySet


class Rebuilder(models.Model):
    """Who rebuilds: an operator; one operator counts once however many rebuilders it runs."""

    name = models.SlugField(max_length=80, unique=True)
    operator = models.CharField(max_length=200)
    is_local = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class Rebuild(models.Model):
    """One attempt by one rebuilder to reproduce one release. The row is the queue."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    release = models.ForeignKey(Release, models.PROTECT, related_name="rebuilds")
    rebuilder = models.ForeignKey(Rebuilder, models.PROTECT, related_name="rebuilds")
    state = models.CharField(max_length=20, choices=choices(RunState), default=RunState.QUEUED)
    retry_of = models.OneToOneField("self", models.PROTECT, null=True, related_name="retried_by")
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    claim_token = models.UUIDField(null=True)
    worker = models.CharField(max_length=200, blank=True)
    lease_expires_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    used_network = models.BooleanField(default=False)
    environment = models.JSONField(default=dict)
    failure = models.JSONField(null=True)

    objects = RebuildQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-queued_at"]
        indexes: ClassVar = [models.Index(fields=["state", "lease_expires_at"], name="rebuild_state_lease")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["release", "rebuilder"],
                condition=Q(state__in=LIVE_STATES),
                name="one_live_rebuild_per_rebuilder",
            ),
            models.CheckConstraint(
                condition=Q(state=RunState.RUNNING, claim_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(state=RunState.RUNNING) & Q(lease_expires_at__isnull=True)),
                name="lease_exactly_while_running",
            ),
            models.CheckConstraint(
                condition=Q(state__in=LIVE_STATES, finished_at__isnull=True)
                | (~Q(state__in=LIVE_STATES) & Q(finished_at__isnull=False)),
                name="finished_exactly_when_final",
            ),
            models.CheckConstraint(
                condition=Q(state=RunState.FAILED, failure__isnull=False)
                | (~Q(state=RunState.FAILED) & Q(failure__isnull=True)),
                name="failure_exactly_when_failed",
            ),
            models.CheckConstraint(condition=~Q(retry_of=F("id")), name="rebuild_is_no_retry_of_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} {self.state}"

    def get_absolute_url(self) -> str:
        return reverse("rebuild", args=[self.pk])

    @property
    def run_state(self) -> RunState:
        return RunState(self.state)


class RebuildEvent(AppendOnly):
    """Something that happened to a rebuild; the history that its state column is the end of."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=60)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["at", "pk"]

    def __str__(self) -> str:
        return self.kind


class RebuildStage(models.Model):
    """A stage of a rebuild with its times and exit."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="stages")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=20, choices=choices(StageState), default=StageState.RUNNING)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    exit_code = models.IntegerField(null=True)
    error = models.JSONField(null=True)

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "position"], name="stage_position_once"),
            models.CheckConstraint(
                condition=Q(state=StageState.RUNNING, ended_at__isnull=True)
                | (~Q(state=StageState.RUNNING) & Q(ended_at__isnull=False)),
                name="stage_ended_exactly_when_final",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class LogChunk(AppendOnly):
    """A piece of a rebuild's log: plain text, in order, already free of control characters."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="log_chunks")
    sequence = models.PositiveIntegerField()
    stage_position = models.PositiveSmallIntegerField()
    text = models.TextField()

    class Meta:
        ordering: ClassVar = ["sequence"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "sequence"], name="log_sequence_once"),
        ]

    def __str__(self) -> str:
        return f"{self.rebuild_id} {self.sequence}"


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
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "launch_configuration"], name="rebuilt_measurement_once"),
            models.CheckConstraint(condition=hex_or_empty("value", SHA384_HEX), name="rebuilt_measurement_hex"),
        ]

    def __str__(self) -> str:
        return self.value
