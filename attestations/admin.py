"""The administration pages of attestations: whom to expect and what to follow can be edited, evidence only read."""

from __future__ import annotations

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from attestations import tasks
from attestations.domain.repository import Repository
from attestations.models import (
    AssetHost,
    ExpectedPublisher,
    FindingRecord,
    FollowedRelease,
    Following,
    ProjectPublisher,
    Publication,
    TrustRootRecord,
)
from attestations.services import following
from builds.admin import ReadOnly
from builds.services.release_events import evidence_changed


@admin.register(ExpectedPublisher)
class ExpectedPublisherAdmin(admin.ModelAdmin[ExpectedPublisher]):
    list_display = ("project", "repository", "workflow", "ref")

    def save_model(self, request: HttpRequest, obj: ExpectedPublisher, form: ModelForm, change: bool) -> None:  # type: ignore[type-arg]
        """Findings rest on the policy: another one has them made anew, and no record of before stands for it."""
        super().save_model(request, obj, form, change)
        evidence_changed(*obj.project.releases.only("pk"))
        transaction.on_commit(tasks.hint_verify_again)


@admin.register(ProjectPublisher)
class ProjectPublisherAdmin(admin.ModelAdmin[ProjectPublisher]):
    """Which accounts may announce which projects' releases."""

    list_display = ("project", "account", "granted_by", "granted_at")
    readonly_fields = ("granted_by", "granted_at")

    def save_model(self, request: HttpRequest, obj: ProjectPublisher, form: ModelForm, change: bool) -> None:  # type: ignore[type-arg]
        """With the name of whoever grants it."""
        obj.granted_by = request.user.get_username()
        super().save_model(request, obj, form, change)


@admin.register(AssetHost)
class AssetHostAdmin(admin.ModelAdmin[AssetHost]):
    """A project that has any takes its assets from these alone: name those that redirects lead to, too."""

    list_display = ("project", "host", "port")
    list_filter = ("project",)


@admin.register(Publication)
class PublicationAdmin(ReadOnly[Publication]):
    list_display = ("project", "tag", "state", "account_name", "token_name", "announced_at", "ended_at", "problem")
    list_filter = ("state", "project")


@admin.register(Following)
class FollowingAdmin(admin.ModelAdmin[Following]):
    list_display = ("repository", "project", "is_enabled", "synced_at", "next_sync_at", "problem")
    readonly_fields = ("repository_id", "owner_id", "synced_at", "running_until", "problem")
    actions = ("synchronise_now",)

    @admin.action(description="Synchronise now")
    def synchronise_now(self, request: HttpRequest, queryset: QuerySet[Following]) -> None:
        for row in queryset:
            following.ask_soon(Repository.parse(row.repository))
            tasks.hint(row.pk)


@admin.register(FollowedRelease)
class FollowedReleaseAdmin(admin.ModelAdmin[FollowedRelease]):
    """``attempts`` can be set back, so that a release is imported again."""

    list_display = ("tag", "following", "published_at", "release", "attempts", "problem")
    readonly_fields = ("following", "tag", "commit", "published_at", "listed_at", "assets", "release", "problem")


@admin.register(FindingRecord)
class FindingAdmin(ReadOnly[FindingRecord]):
    list_display = ("sighting", "state", "repository", "commit", "workflow", "found_at")
    list_filter = ("state",)
    search_fields = ("commit", "workflow", "run_url", "issuer", "repository", "log_index")


@admin.register(TrustRootRecord)
class TrustRootAdmin(ReadOnly[TrustRootRecord]):
    list_display = ("name", "tuf_url", "refreshed_at", "problem")
