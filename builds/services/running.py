"""Runs a claimed rebuild through the pipeline and stores what came of it."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.conf import settings
from django.db import transaction

from builds.domain.errors import DiskFull, PortalError
from builds.domain.lifecycle import RunState
from builds.models import (
    LaunchConfiguration,
    Rebuild,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
)
from builds.pipeline.build_result import BuildResult, BuiltMeasurement
from builds.pipeline.control import Cancelled, ClaimLost
from builds.pipeline.rebuild import Build, BuildPlan
from builds.pipeline.recipes import PortalRecipe
from builds.services import workshop
from builds.services.rebuilding import Claim, finish
from builds.services.recording import DatabaseObserver, Heartbeat
from builds.services.source_facts import build_info_of, portal_recipe


def run_claimed(claim: Claim) -> None:
    """Run to an end state. An unnamed error is a bug: it leaves the lease to lapse and is logged."""
    rebuild = Rebuild.objects.select_related("release__project").get(pk=claim.rebuild_id)
    with Heartbeat(claim) as heartbeat:
        observer = DatabaseObserver(claim.rebuild_id, heartbeat)
        try:
            with _work_directory(rebuild) as work, closing(workshop.engine()) as engine:
                plan = _plan(rebuild, work)
                result = Build(plan, engine, workshop.store(), workshop.mirror(), observer).run()
        except ClaimLost:
            return
        except Cancelled as error:
            finish(claim, RunState.CANCELLED, failure=error)
            return
        except PortalError as error:
            finish(claim, RunState.FAILED, failure=error)
            return
        _store_result(claim, rebuild, result)


def _plan(rebuild: Rebuild, work: Path) -> BuildPlan:
    release = rebuild.release
    info = build_info_of(release)
    # What was audited is what is built by; a release imported before its project had a recipe takes today's.
    kept = PortalRecipe(release.portal_recipe, release.recipe_author) if release.portal_recipe else None
    return BuildPlan(
        source_url=release.project.source_url,
        commit=release.commit,
        tag=release.tag,
        work=work,
        labels=workshop.labels(str(rebuild.pk)),
        limits=workshop.limits(),
        keyring=settings.ARCHIVE_KEYRING,
        base_cache=settings.BASE_CACHE,
        recipe=kept or portal_recipe(release.project),
        values=info.values if info is not None else {},
    )


@contextmanager
def _work_directory(rebuild: Rebuild) -> Iterator[Path]:
    """A directory of this rebuild alone, gone afterwards; what a killed worker left is replaced."""
    path: Path = settings.WORK_DIR / str(rebuild.pk)
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull("no space left for a work directory", where=str(path)) from error
        raise
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _store_result(claim: Claim, rebuild: Rebuild, result: BuildResult) -> None:
    """Everything or nothing: results appear together with the state that makes them count."""
    with transaction.atomic():
        if not finish(claim, RunState.SUCCEEDED):
            return
        Rebuild.objects.filter(pk=rebuild.pk).update(
            environment=result.environment, used_network=bool(result.recipe.asks_for_network)
        )
        for component in result.components:
            container = component.container
            RebuiltComponent(
                rebuild=rebuild,
                role=component.role,
                size=component.content.size,
                sha256=component.content.sha256.hex,
                sha384=component.content.sha384.hex,
                container_size=container.size if container is not None else None,
                container_sha256=container.sha256.hex if container is not None else "",
                container_sha384=container.sha384.hex if container is not None else "",
                origin_kind=component.origin.kind,
                origin=component.origin.sentence,
            ).save()
        RebuiltFile.objects.bulk_create(
            RebuiltFile(
                rebuild=rebuild,
                role=file.role,
                path=file.path,
                size=file.size,
                sha256=file.digest.hex,
                origin_kind=file.origin.kind,
                origin=file.origin.sentence,
            )
            for file in result.files
        )
        for configuration in rebuild.release.launch_configurations.all():
            _store_measurement(rebuild, configuration, result)


def _store_measurement(rebuild: Rebuild, configuration: LaunchConfiguration, result: BuildResult) -> None:
    """Join a published launch configuration with the one the recipe builds at this commit."""
    built = next((entry for entry in result.measurements if _same_launch(entry, configuration)), None)
    problem: PortalError | None = None
    value = ""
    if built is None:
        problem = PortalError(
            f"the recipe at this commit has no {configuration.boot_mode} launch configuration with"
            f" {configuration.vcpus} vCPUs of {configuration.vcpu_type}",
            where="tee-portal.toml",
            todo="Ask the publisher what the published measurement was computed for.",
        )
    elif built.measurement is None:
        problem = built.problem
    else:
        value = built.measurement.hex
    RebuiltMeasurement(
        rebuild=rebuild,
        launch_configuration=configuration,
        value=value,
        problem=problem.as_dict() if problem is not None else None,
    ).save()


def _same_launch(built: BuiltMeasurement, configuration: LaunchConfiguration) -> bool:
    spec = built.spec
    return (spec.boot_mode, spec.vcpus, spec.vcpu_type) == (
        configuration.boot_mode,
        configuration.vcpus,
        configuration.vcpu_type,
    )
