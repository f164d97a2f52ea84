"""What the portal stores. Rules live in ``builds.domain``; constraints here hold what the code assumes."""

from __future__ import annotations

import uuid
from typing import ClassVar, Never

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from builds.domain.comparison import Subject
from builds.domain.lifecycle import LIVE_STATES, RunState, StageState
from builds.domain.origins import OriginKind
from builds.domain.roles import BootMode, Role
from builds.querysets import RebuildQuerySet, ReleaseQuerySet

_SHA256_HEX = r"^[0-9a-f]{64}$"
_SHA384_HEX = r"^[0-9a-f]{96}$"


def _choices(values: type[Role | BootMode | Subject | RunState | StageState | OriginKind]) -> list[tuple[str, str]]:
    return [(member.value, member.value) for member in values]


def _hex_or_empty(field: str, pattern: str) -> Q:
    return Q(**{field: ""}) | Q(**{f"{field}__regex": pattern})


class AppendOnly(models.Model):
    """Facts: written once, never edited or deleted on their own."""

    class Meta:
        abstract = True

    def save(self, *, force_insert: bool = True, **options: object) -> None:  # type: ignore[override]
        if not self._state.adding:
            self._refuse()
        super().save(force_insert=True, **options)  # type: ignore[arg-type]

    def delete(self, *_: object, **__: object) -> Never:
        self._refuse()

    def _refuse(self) -> Never:
        raise TypeError(f"{type(self).__name__} is append-only: add a new fact instead")


class Project(models.Model):
    """A source repository whose releases are audited, and the policy they are judged by."""

    name = models.SlugField(max_length=80, unique=True)
    source_url = models.CharField(max_length=500)
    needed_operators = models.PositiveSmallIntegerField(default=2)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class AcceptedOpaqueInput(models.Model):
    """An opaque input that the project's policy accepts by digest, with its reason and date."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="accepted_opaque_inputs")
    sha256 = models.CharField(max_length=64)
    reason = models.TextField()
    accepted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "sha256"], name="opaque_input_accepted_once"),
            models.CheckConstraint(condition=Q(sha256__regex=_SHA256_HEX), name="accepted_opaque_sha256"),
        ]

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"


class Material(models.Model):
    """A build input pinned by digest, and whether a signed archive index named that digest."""

    sha256 = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=100)
    version = models.CharField(max_length=200)
    architecture = models.CharField(max_length=40)
    suite = models.CharField(max_length=80, blank=True)
    size = models.PositiveBigIntegerField()
    authenticated = models.BooleanField(default=False)
    authenticity = models.CharField(max_length=1000)
    """The sentence that says which signed index named the digest, or why none did."""
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(sha256__regex=_SHA256_HEX), name="material_sha256"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Release(models.Model):
    """A published version, as imported. The manifest is kept as the bytes that were published."""

    project = models.ForeignKey(Project, models.PROTECT, related_name="releases")
    tag = models.CharField(max_length=200)
    commit = models.CharField(max_length=40)
    source_date_epoch = models.PositiveBigIntegerField()
    manifest = models.BinaryField()
    manifest_sha256 = models.CharField(max_length=64)
    imported_at = models.DateTimeField(default=timezone.now)
    materials = models.ManyToManyField(Material, related_name="releases")
    materials_stored_at = models.DateTimeField(null=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-imported_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "tag"], name="release_once_per_tag"),
            models.CheckConstraint(condition=Q(commit__regex=r"^[0-9a-f]{40}$"), name="release_commit"),
            models.CheckConstraint(condition=Q(manifest_sha256__regex=_SHA256_HEX), name="release_manifest_sha256"),
        ]

    def __str__(self) -> str:
        return f"{self.project.name} {self.tag}"

    def get_absolute_url(self) -> str:
        return reverse("release", args=[self.project.name, self.tag])


class ReleaseEvent(AppendOnly):
    """Something that happened to a release: imported, contradiction found, materials stored or gone."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=60)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["at", "pk"]

    def __str__(self) -> str:
        return self.kind


class Component(models.Model):
    """One published component. Empty digests mean: not known; ``problem`` says why."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="components")
    role = models.CharField(max_length=20, choices=_choices(Role))
    file_name = models.CharField(max_length=300, blank=True)
    container_kind = models.CharField(max_length=20, blank=True)
    claimed_digest = models.CharField(max_length=140, blank=True)
    """``algorithm:hex`` as the manifest says; empty when the manifest does not name the role."""
    claim_subject = models.CharField(max_length=20, choices=_choices(Subject), default=Subject.CONTENT)
    size = models.PositiveBigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    sha384 = models.CharField(max_length=96, blank=True)
    container_size = models.PositiveBigIntegerField(null=True)
    container_sha256 = models.CharField(max_length=64, blank=True)
    container_sha384 = models.CharField(max_length=96, blank=True)
    problem = models.JSONField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["release", "role"], name="component_once_per_role"),
            models.CheckConstraint(
                condition=_hex_or_empty("sha256", _SHA256_HEX)
                & _hex_or_empty("sha384", _SHA384_HEX)
                & _hex_or_empty("container_sha256", _SHA256_HEX)
                & _hex_or_empty("container_sha384", _SHA384_HEX),
                name="component_digests",
            ),
            models.CheckConstraint(
                condition=Q(size__isnull=True, sha256="", sha384="")
                | (Q(size__isnull=False) & ~Q(sha256="") & ~Q(sha384="")),
                name="component_digests_together",
            ),
        ]

    def __str__(self) -> str:
        return self.role


class LaunchConfiguration(models.Model):
    """vCPUs, CPU type, command line and the rest that a launch measurement is computed for."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="launch_configurations")
    name = models.CharField(max_length=80)
    boot_mode = models.CharField(max_length=20, choices=_choices(BootMode))
    vcpus = models.PositiveIntegerField()
    vcpu_type = models.CharField(max_length=40)
    guest_features = models.PositiveBigIntegerField()
    vmm = models.CharField(max_length=20)
    command_line = models.TextField(blank=True)
    origin = models.CharField(max_length=200)
    """Where the values come from: the published documents, completed by the recipe or by assumption."""
    not_covered = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["release", "name"], name="launch_configuration_once"),
        ]

    def __str__(self) -> str:
        return self.name


class Measurement(models.Model):
    """The launch measurement of a configuration as published and as recomputed from the published files."""

    launch_configuration = models.OneToOneField(LaunchConfiguration, models.CASCADE, related_name="measurement")
    published = models.CharField(max_length=96, blank=True)
    recomputed = models.CharField(max_length=96, blank=True)
    coverage = models.JSONField(default=list)
    problem = models.JSONField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=_hex_or_empty("published", _SHA384_HEX) & _hex_or_empty("recomputed", _SHA384_HEX),
                name="measurement_hex",
            ),
        ]

    def __str__(self) -> str:
        return self.published


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
    state = models.CharField(max_length=20, choices=_choices(RunState), default=RunState.QUEUED)
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
    state = models.CharField(max_length=20, choices=_choices(StageState), default=StageState.RUNNING)
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
    role = models.CharField(max_length=20, choices=_choices(Role))
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    sha384 = models.CharField(max_length=96)
    container_sha256 = models.CharField(max_length=64, blank=True)
    container_sha384 = models.CharField(max_length=96, blank=True)
    container_size = models.PositiveBigIntegerField(null=True)
    origin_kind = models.CharField(max_length=20, choices=_choices(OriginKind))
    origin = models.CharField(max_length=1000)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "role"], name="rebuilt_component_once"),
            models.CheckConstraint(
                condition=Q(sha256__regex=_SHA256_HEX) & Q(sha384__regex=_SHA384_HEX), name="rebuilt_component_digests"
            ),
        ]

    def __str__(self) -> str:
        return self.role


class RebuiltFile(AppendOnly):
    """One file inside a rebuilt initrd, with the origin of its bytes."""

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="files")
    role = models.CharField(max_length=20, choices=_choices(Role))
    path = models.CharField(max_length=1000)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    origin_kind = models.CharField(max_length=20, choices=_choices(OriginKind))
    origin = models.CharField(max_length=1000)

    class Meta:
        ordering: ClassVar = ["role", "path"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "role", "path"], name="rebuilt_file_once"),
            models.CheckConstraint(condition=Q(sha256__regex=_SHA256_HEX), name="rebuilt_file_sha256"),
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
            models.CheckConstraint(condition=_hex_or_empty("value", _SHA384_HEX), name="rebuilt_measurement_hex"),
        ]

    def __str__(self) -> str:
        return self.value
