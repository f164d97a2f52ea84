"""Rebuild runs: the queue, what happened to each run, its stages and its log."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from builds.domain.lifecycle import LIVE_STATES, RunState, StageState
from builds.domain.queue import Priority
from builds.models.base import SHA256_HEX, AppendOnly, choices, hex_or_empty
from builds.models.operator import Rebuilder
from builds.models.release import Release
from builds.querysets import RebuildQuerySet

_QUEUED = Q(state=RunState.QUEUED)


class Rebuild(models.Model):
    """One attempt by one rebuilder to reproduce one release. The row is the queue: open until somebody claims it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    release = models.ForeignKey(Release, models.PROTECT, related_name="rebuilds")
    rebuilder = models.ForeignKey(Rebuilder, models.PROTECT, null=True, related_name="rebuilds")
    """Who claimed it or handed it in; None while the place is open."""
    wanted_from = models.ForeignKey(Rebuilder, models.PROTECT, null=True, related_name="wanted")
    """The one rebuilder that may claim it; None when anybody may."""
    priority = models.PositiveSmallIntegerField(choices=[(p.value, p.words) for p in Priority], default=Priority.USER)
    turn = models.PositiveBigIntegerField(default=0)
    """Its place among those of the same priority, given so that projects take turns."""
    attempt = models.PositiveSmallIntegerField(default=1)
    next_retry = models.DateTimeField(default=timezone.now)
    """Nobody may claim it earlier; grows with every attempt that was lost. Of a run that came to nothing: its operator
    is not given the release earlier.
    """
    state = models.CharField(max_length=20, choices=choices(RunState), default=RunState.QUEUED)
    retry_of = models.OneToOneField("self", models.PROTECT, null=True, related_name="retried_by")
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    claim_sha256 = models.CharField(max_length=64, blank=True)
    """SHA-256 of the token that only the claimant knows; empty when it was never claimed."""
    worker = models.CharField(max_length=200, blank=True)
    lease_expires_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    used_network = models.BooleanField(default=False)
    other_materials = models.BooleanField(default=False)
    """Whether it was built from other materials than the release's lock names."""
    log_complete = models.BooleanField(null=True)
    """Whether the log kept here is the one that was signed; None while nobody can say, False once it was cut."""
    environment = models.JSONField(default=dict)
    failure = models.JSONField(null=True)

    objects = RebuildQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-queued_at"]
        indexes: ClassVar = [
            models.Index(fields=["state", "lease_expires_at"], name="rebuild_state_lease"),
            models.Index(fields=["priority", "turn", "queued_at"], condition=_QUEUED, name="rebuild_queue"),
            models.Index(fields=["finished_at"], name="rebuild_finished"),
            models.Index(fields=["-queued_at", "-id"], name="rebuild_newest"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["release", "rebuilder"],
                condition=Q(state__in=LIVE_STATES, rebuilder__isnull=False),
                name="one_live_rebuild_per_rebuilder",
            ),
            models.UniqueConstraint(
                fields=["release", "wanted_from"],
                condition=Q(state__in=LIVE_STATES, wanted_from__isnull=False),
                name="one_wanted_rebuild_per_rebuilder",
            ),
            models.UniqueConstraint(
                fields=["claim_sha256"], condition=~Q(claim_sha256=""), name="claim_token_of_one_rebuild"
            ),
            models.CheckConstraint(condition=hex_or_empty("claim_sha256", SHA256_HEX), name="rebuild_claim_sha256"),
            models.CheckConstraint(
                condition=Q(rebuilder__isnull=False) | Q(state__in=[RunState.QUEUED, RunState.CANCELLED]),
                name="rebuilder_unless_open",
            ),
            models.CheckConstraint(
                condition=(Q(state=RunState.RUNNING, lease_expires_at__isnull=False) & ~Q(claim_sha256=""))
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
    def why(self) -> str:
        """Why it is in the queue: its priority in words."""
        return Priority(self.priority).words

    @property
    def operator_name(self) -> str:
        """Whose it is: who claimed it, else whom it is wanted from; "" while it is open to anybody."""
        who = self.rebuilder or self.wanted_from
        return who.operator.name if who is not None else ""

    @property
    def agent(self) -> str:
        """Program, version and machine as a rebuilder's agent names itself; "" for none and for the own worker."""
        return "" if self.rebuilder is None or self.rebuilder.is_local else self.worker

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
    """A piece of a rebuild's log: plain text, in order, already free of control characters.

    It says where it ends in the log, so that any line is found by one index lookup and nobody reads what is before it.
    """

    rebuild = models.ForeignKey(Rebuild, models.CASCADE, related_name="log_chunks")
    sequence = models.PositiveIntegerField()
    stage_position = models.PositiveSmallIntegerField()
    last_line = models.PositiveIntegerField()
    """The number of its last line in the whole log, from 1; that of the piece before when it holds none."""
    end_byte = models.PositiveBigIntegerField()
    """How many bytes of the log, in UTF-8, come before its end."""
    text = models.TextField()

    class Meta:
        ordering: ClassVar = ["sequence"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rebuild", "sequence"], name="log_sequence_once"),
        ]
        # Covers what stage a line belongs to, so that the text of no piece is read to know it.
        indexes: ClassVar = [models.Index(fields=["rebuild", "last_line", "stage_position"], name="log_line")]

    def __str__(self) -> str:
        return f"{self.rebuild_id} {self.sequence}"
