"""Reference values of all releases that are allowed now, for programs that appraise reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from django.urls import reverse

from attestations.domain.policy_statement import PolicyStatement
from attestations.domain.reference_values import ReferenceValue
from attestations.models import VerdictRecord
from attestations.services.answer_version import releases_state
from attestations.services.recorded import may_stand, newest_record
from attestations.services.standing import ReleaseStanding, standings_of
from attestations.services.verdict_axes import release_path
from attestations.services.verdicts import basis_of, policy_statement_of
from builds.domain.errors import LimitExceeded
from builds.domain.release_filters import Axis
from builds.domain.roles import Role
from builds.domain.verdict import Decision
from builds.models import Component, Project, Release
from builds.querysets import ReleaseQuerySet
from builds.services.absent import PROJECT, the_one
from builds.services.configurations import launch_of
from builds.services.evidence import MeasurementRow, ReleaseView, view_of
from builds.services.shell_lines import measured_files, measuring_line_of, snpguest_line_of

MOST_RELEASES = 500
"""So many releases that may be allowed are judged for one export; more are refused, never left out."""


class ExportTooLarge(LimitExceeded):
    """More releases may be allowed than one export judges."""

    code: ClassVar[str] = "export-too-large"
    default_todo: ClassVar[str] = "Ask for one project with `project`."


@dataclass(frozen=True, slots=True)
class Scope:
    """The releases that are asked about: all, or those of the project of this primary key."""

    releases: ReleaseQuerySet
    project_id: int | None

    @property
    def state(self) -> str:
        """What moves when any of them has new evidence or another record."""
        return releases_state(self.project_id)


def scope_of(project: str | None) -> Scope:
    """All releases, or those of one project; ``NotHere`` for a project that is not."""
    releases = Release.objects.all()
    if project is None:
        return Scope(releases, None)
    named = the_one(Project.objects.filter(name=project), PROJECT, project)
    return Scope(releases.filter(project=named), named.pk)


def reference_values(scope: Scope, base: str) -> list[ReferenceValue]:
    """Every launch configuration of every release whose verdict, derived now, allows it; by project, tag and name.

    What the newest record denies is not judged again, unless something changed since. ``base`` is the portal's address
    without a slash at its end. Raises ``ExportTooLarge``.
    """
    wanted = may_stand(scope.releases, {Axis.DECISION: Decision.ALLOW.value})
    keys = list(wanted.order_by("pk").values_list("pk", flat=True)[: MOST_RELEASES + 1])
    if len(keys) > MOST_RELEASES:
        raise ExportTooLarge(f"more than {MOST_RELEASES} releases may be allowed", where="the export")
    rows = list(Release.objects.with_evidence(attempts=False).filter(pk__in=keys).order_by("project__name", "tag"))
    standings = standings_of(rows)
    judged = [(view_of(row, standings[row.pk].evidence), standings[row.pk]) for row in rows]
    allowed = [(view, standing) for view, standing in judged if view.verdict.decision is Decision.ALLOW]
    signed = _signed(allowed)
    return [
        _value(view, row, base, signed.get(view.release.pk))
        for view, _ in allowed
        for row in sorted(view.measurements, key=lambda row: row.configuration.name)
    ]


def _signed(allowed: Sequence[tuple[ReleaseView, ReleaseStanding]]) -> dict[int, str]:
    """The payload's digest of each newest signed summary that says what holds now, by the release's primary key."""
    keys = [view.release.pk for view, _ in allowed]
    newest = Release.objects.filter(pk__in=keys).values_list(newest_record(), flat=True)
    found = VerdictRecord.objects.filter(pk__in=[pk for pk in newest if pk is not None], payload_sha256__isnull=False)
    records = {record.release_id: record for record in found.only("release", "basis", "payload_sha256")}
    policies: dict[int, PolicyStatement] = {}
    signed = {}
    for view, standing in allowed:
        release = view.release
        if release.project_id not in policies:
            policies[release.project_id] = policy_statement_of(view, standing)
        record = records.get(release.pk)
        if record is not None and record.basis == basis_of(view, standing, policies[release.project_id]):
            signed[release.pk] = str(record.payload_sha256)
    return signed


def _value(view: ReleaseView, row: MeasurementRow, base: str, signed: str | None) -> ReferenceValue:
    release, configuration, known = view.release, row.configuration, row.evidence
    if known.published is None:
        raise LookupError("a release is allowed though one of its measurements was not published")
    launch, files = launch_of(configuration), {Role(entry.role): entry for entry in release.components.all()}
    command_line = configuration.command_line or ""
    return ReferenceValue(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        configuration=configuration.name,
        launch=launch,
        command_line=configuration.command_line,
        measurement=known.published,
        coverage=tuple(sorted(known.coverage)),
        not_covered=known.not_covered,
        verdict=f"{base}{release_path(release)}/verdict",
        vsa=f"{base}{reverse('vsa-bundle', args=[signed])}" if signed is not None else None,
        sev_snp_measure=_lines(measuring_line_of(launch, command_line, files), row, files),
        snpguest=_lines(snpguest_line_of(launch, command_line, files), row, files),
    )


def _lines(call: str | None, row: MeasurementRow, files: dict[Role, Component]) -> tuple[str, ...]:
    """The call after the lines that take its files out of their containers."""
    if call is None:
        return ()
    unpack = [line for target in measured_files(launch_of(row.configuration), files) for line in target.unpack]
    return (*unpack, call)
