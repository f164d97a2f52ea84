"""What a signed statement says, as rows that pages and verdicts read."""

from __future__ import annotations

from collections.abc import Iterable

from builds.domain.errors import PortalError
from builds.domain.provenance import RebuildStatement, RebuiltSubject, measured_for
from builds.domain.provenance import RebuiltMeasurement as StatedMeasurement
from builds.models import LaunchConfiguration, Rebuild, RebuiltComponent, RebuiltFile, RebuiltMeasurement


def store_rows(rebuild: Rebuild, statement: RebuildStatement) -> None:
    """Call it inside the transaction that stores the statement: both appear, or neither does."""
    RebuiltComponent.objects.bulk_create(_component(rebuild, subject) for subject in statement.subject)
    RebuiltFile.objects.bulk_create(
        RebuiltFile(
            rebuild=rebuild,
            role=file.role,
            path=file.path,
            size=file.size,
            sha256=file.sha256,
            origin_kind=file.origin_kind,
            origin=file.origin,
        )
        for file in statement.files
    )
    RebuiltMeasurement.objects.bulk_create(
        _measurement(rebuild, configuration, statement.measurements)
        for configuration in rebuild.release.launch_configurations.all()
    )


def _component(rebuild: Rebuild, subject: RebuiltSubject) -> RebuiltComponent:
    notes = subject.annotations
    return RebuiltComponent(
        rebuild=rebuild,
        role=subject.name,
        size=notes.size,
        sha256=subject.digest.sha256,
        sha384=subject.digest.sha384,
        container_size=notes.container.size if notes.container is not None else None,
        container_sha256=notes.container.sha256 if notes.container is not None else "",
        container_sha384=notes.container.sha384 if notes.container is not None else "",
        origin_kind=notes.origin_kind,
        origin=notes.origin,
    )


def _measurement(
    rebuild: Rebuild, configuration: LaunchConfiguration, stated: Iterable[StatedMeasurement]
) -> RebuiltMeasurement:
    """Join a published launch configuration with the one the recipe builds at this commit."""
    built = measured_for(configuration, stated)
    if built is None:
        problem: dict[str, str] | None = _no_such_launch(configuration)
    else:
        problem = built.problem.model_dump() if built.problem is not None else None
    return RebuiltMeasurement(
        rebuild=rebuild,
        launch_configuration=configuration,
        value=built.value if built is not None else "",
        problem=problem,
    )


def _no_such_launch(configuration: LaunchConfiguration) -> dict[str, str]:
    return PortalError(
        f"the rebuild measured no {configuration.boot_mode} launch configuration with {configuration.vcpus} vCPUs of"
        f" {configuration.vcpu_type}, guest features {configuration.guest_features} and this command line",
        where="tee-portal.toml",
        todo="Ask the publisher what the published measurement was computed for.",
    ).as_dict()
