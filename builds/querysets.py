"""Reusable queries, each with a bounded number of statements."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models

from builds.domain.lifecycle import RunState

if TYPE_CHECKING:
    from builds.models import Rebuild, Release  # noqa: F401 - names the rows of each query set


class ReleaseQuerySet(models.QuerySet["Release"]):
    def with_evidence(self) -> ReleaseQuerySet:
        """Everything a verdict is derived from, in a constant number of queries."""
        return self.select_related("project").prefetch_related(
            "components",
            "embedded_files",
            "events",
            "project__accepted_opaque_inputs",
            "launch_configurations__measurement",
            "rebuilds__rebuilder",
            "rebuilds__components",
            "rebuilds__files",
            "rebuilds__measurements",
        )


class RebuildQuerySet(models.QuerySet["Rebuild"]):
    def waiting(self) -> RebuildQuerySet:
        return self.filter(state=RunState.QUEUED, cancel_requested_at__isnull=True)

    def lapsed(self, now: datetime) -> RebuildQuerySet:
        """Running, but the worker has not renewed its lease."""
        return self.filter(state=RunState.RUNNING, lease_expires_at__lt=now)
