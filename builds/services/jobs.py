"""A release as the job that rebuilders are given."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ValidationError

from builds.domain.errors import MalformedInput, PortalError
from builds.domain.frozen import first_problem
from builds.domain.job import JobComponent, JobMeasurement, KeptRecipe, RebuildJob, launch_values_of
from builds.domain.lifecycle import RunState
from builds.domain.roles import BootMode
from builds.models import Rebuild, Release
from builds.services.evidence import published_component
from builds.services.source_facts import build_info_of, portal_recipe

_EARLIER_RUNS = 10
_JOBS_A_PAGE = 100


class ReleaseNotAskable(PortalError):
    """What is known of a release cannot be put as a job: an address or a name that no rebuilder would take."""

    code: ClassVar[str] = "release-not-askable"
    default_todo: ClassVar[str] = (
        "Ask the portal's administrator to correct the project; its other releases can be had."
    )


def job_of(release: Release, *, to_compare: bool = False) -> RebuildJob:
    """What rebuilding a release takes: names, digests to compare with afterwards, and no published byte.

    ``to_compare`` adds the published launch measurements. Raises ``ReleaseNotAskable`` for what a job cannot hold,
    which others may have published.
    """
    try:
        info = build_info_of(release)
        return RebuildJob(
            project=release.project.name,
            tag=release.tag,
            commit=release.commit,
            source_url=release.project.source_url,
            recipe=_kept_recipe(release),
            launch_values=launch_values_of(info.values) if info is not None else {},
            components=tuple(JobComponent.of(published_component(row)) for row in release.components.all()),
            measurements=_measurements(release) if to_compare else (),
            expected_seconds=expected_seconds(release),
            needs=release.needs,
        )
    except (ValidationError, MalformedInput) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise ReleaseNotAskable(
            f"the release is no job for a rebuilder: {problem[:300]}", where=str(release)
        ) from error


def _measurements(release: Release) -> tuple[JobMeasurement, ...]:
    return tuple(
        JobMeasurement(
            name=row.name,
            boot_mode=BootMode(row.boot_mode),
            vcpus=row.vcpus,
            vcpu_type=row.vcpu_type,
            guest_features=row.guest_features,
            vmm=row.vmm,
            command_line=row.command_line,
            published=row.measurement.published,
        )
        for row in release.launch_configurations.select_related("measurement")
        if row.measurement.published
    )


@dataclass(frozen=True, slots=True)
class JobPage:
    """Releases that can be rebuilt, by project and tag; ``after`` continues the list, None at its end."""

    names: tuple[tuple[str, str], ...]
    after: int | None


def jobs_after(after: int, *, project: str | None, tag: str | None) -> JobPage:
    """The next releases that have a recipe with stages and stored materials."""
    found = Release.objects.filter(pk__gt=after, materials_stored_at__isnull=False).exclude(recipe_roles=[])
    if project is not None:
        found = found.filter(project__name=project)
    if tag is not None:
        found = found.filter(tag=tag)
    rows = list(found.order_by("pk").values_list("pk", "project__name", "tag")[: _JOBS_A_PAGE + 1])
    shown = rows[:_JOBS_A_PAGE]
    return JobPage(
        names=tuple((name, tag) for _, name, tag in shown), after=shown[-1][0] if len(rows) > _JOBS_A_PAGE else None
    )


def _kept_recipe(release: Release) -> KeptRecipe | None:
    """What was audited is what is built by; a release imported before its project had a recipe takes today's."""
    if release.portal_recipe:
        return KeptRecipe(text=release.portal_recipe, author=release.recipe_author)
    today = portal_recipe(release.project)
    return KeptRecipe(text=today.text, author=today.author) if today is not None else None


def expected_seconds(release: Release) -> int | None:
    """The median of the project's newest successful runs; None while there is none.

    Only claimed ones: of what is handed in without a claim, the times are a stranger's word.
    """
    found = Rebuild.objects.filter(release__project=release.project, state=RunState.SUCCEEDED)
    runs = found.filter(started_at__isnull=False).exclude(claim_sha256="").order_by("-finished_at")[:_EARLIER_RUNS]
    taken = [(run.finished_at - run.started_at).total_seconds() for run in runs if run.finished_at and run.started_at]
    return round(statistics.median(taken)) if taken else None
