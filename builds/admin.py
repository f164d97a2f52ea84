"""The administration pages: projects and their policy can be edited, evidence can only be read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest

from builds.models import (
    AcceptedOpaqueInput,
    Affiliation,
    ApiToken,
    Material,
    Operator,
    Project,
    Rebuild,
    Rebuilder,
    RebuilderKey,
    RebuildRequest,
    Release,
    ResultSetAside,
    StoredStatement,
)
from builds.services.release_events import evidence_changed


class AcceptedOpaqueInputInline(admin.TabularInline[AcceptedOpaqueInput, Project]):
    model = AcceptedOpaqueInput
    extra = 0


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin[Project]):
    list_display = ("name", "source_url", "needed_operators")
    inlines = (AcceptedOpaqueInputInline,)

    def save_related(self, request: HttpRequest, form: ModelForm, formsets: Any, change: bool) -> None:  # type: ignore[type-arg]
        """Another policy makes other verdicts: what is on record does not stand for them."""
        super().save_related(request, form, formsets, change)
        evidence_changed(*form.instance.releases.only("pk"))


class ReadOnly[Row: Model](admin.ModelAdmin[Row]):
    """Evidence: shown, never edited here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False


@admin.register(Release)
class ReleaseAdmin(ReadOnly[Release]):
    list_display = ("project", "tag", "commit", "imported_at")


@admin.register(Rebuild)
class RebuildAdmin(ReadOnly[Rebuild]):
    list_display = ("id", "release", "rebuilder", "state", "queued_at")


@admin.register(Material)
class MaterialAdmin(ReadOnly[Material]):
    list_display = ("name", "version", "architecture", "suite", "authenticated")


@admin.register(Rebuilder)
class RebuilderAdmin(ReadOnly[Rebuilder]):
    list_display = ("name", "operator", "is_local")


@admin.register(Operator)
class OperatorAdmin(ReadOnly[Operator]):
    """Accepted, tied and revoked with ``manage.py operators``, which asks for a name and a reason."""

    list_display = ("slug", "name", "accepted_at", "accepted_by", "contact")


@admin.register(Affiliation)
class AffiliationAdmin(ReadOnly[Affiliation]):
    list_display = ("operator", "project", "what", "stated_by", "stated_at", "ended_at", "ended_by")


@admin.register(RebuilderKey)
class RebuilderKeyAdmin(ReadOnly[RebuilderKey]):
    list_display = ("fingerprint", "rebuilder", "algorithm", "accepted_at", "not_after", "revoked_at")
    exclude = ("enrolment",)


@admin.register(StoredStatement)
class StoredStatementAdmin(ReadOnly[StoredStatement]):
    list_display = ("payload_sha256", "rebuild", "key", "received_at")
    exclude = ("content",)


@admin.register(ResultSetAside)
class ResultSetAsideAdmin(ReadOnly[ResultSetAside]):
    list_display = ("rebuild", "reason", "by", "at")


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly[ApiToken]):
    list_display = ("name", "account", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")
    exclude = ("sha256",)


@admin.register(RebuildRequest)
class RebuildRequestAdmin(ReadOnly[RebuildRequest]):
    list_display = ("account", "rebuild", "joined", "token", "at")
