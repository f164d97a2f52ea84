"""A rebuild as a rebuilder does it: build what a job names, say what was made, and sign it.

Used alike by agents on other machines and by the portal's own worker: what counts is the signed statement.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from builds.domain import provenance
from builds.domain.digest import FileDigests
from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope
from builds.domain.errors import PortalError
from builds.domain.frozen import first_problem
from builds.domain.job import RebuildJob
from builds.domain.provenance import RebuildStatement
from builds.pipeline.build_result import BuildResult, BuiltComponent, BuiltMeasurement
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import Limits
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror
from builds.pipeline.rebuild import Build, BuildPlan, Reach
from builds.pipeline.recipes import PortalRecipe
from builds.pipeline.reporting import Reporter
from builds.pipeline.signing import Signer
from builds.pipeline.unforeseen import named


class StatementUnwritable(PortalError):
    """What was built cannot be said in a statement: a name in it holds control characters, or is too long."""

    code: ClassVar[str] = "statement-unwritable"
    default_todo: ClassVar[str] = "Ask the publisher why the image holds such a name; treat it as hostile."


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where and with what one rebuild is done. ``work`` is made anew and is gone afterwards."""

    engine: DockerEngine
    store: MaterialStore
    mirror: Mirror
    limits: Limits
    keyring: Path
    base_cache: Path
    work: Path
    labels: Mapping[str, str]
    reach: Reach = field(default_factory=Reach)


@dataclass(frozen=True, slots=True)
class SignedRebuild:
    """What a rebuild leaves: the statement, and the envelope that carries its exact bytes."""

    statement: RebuildStatement
    envelope: Envelope


def reproduce(job: RebuildJob, workshop: Workshop, signer: Signer, reporter: Reporter) -> SignedRebuild:
    """Rebuild and sign; raises the ``PortalError`` of the stage that failed, and then nothing is signed."""
    started = _now()
    with _work_directory(workshop.work) as work:
        result = Build(_plan(job, workshop, work), workshop.engine, workshop.store, workshop.mirror, reporter).run()
    reporter.settle()
    try:
        statement = statement_of(job, result, signer.public.name, started, reporter.log_sha256)
    except ValidationError as error:
        raise StatementUnwritable(first_problem(error)[:400], where=f"{job.project} {job.tag}") from error
    return SignedRebuild(statement, signer.sign(IN_TOTO_PAYLOAD, statement.encode()))


def _plan(job: RebuildJob, workshop: Workshop, work: Path) -> BuildPlan:
    return BuildPlan(
        source_url=job.source_url,
        commit=job.commit,
        tag=job.tag,
        work=work,
        labels=workshop.labels,
        limits=workshop.limits,
        keyring=workshop.keyring,
        base_cache=workshop.base_cache,
        reach=workshop.reach,
        recipe=PortalRecipe(job.recipe.text, job.recipe.author) if job.recipe is not None else None,
        values=job.launch_values,
    )


@contextmanager
def _work_directory(path: Path) -> Iterator[Path]:
    """A directory of this rebuild alone, gone afterwards; what a killed one left is replaced."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise named(error, where=str(path)) from error
    try:
        yield path
    finally:
        shutil.rmtree(path)


def statement_of(
    job: RebuildJob, result: BuildResult, builder: str, started: datetime, log_sha256: str
) -> RebuildStatement:
    """What a build made, from what and by whom (``builder`` is the key's name), as the statement that is signed."""
    source = provenance.SourceReference(uri=job.source_url, commit=job.commit)
    return RebuildStatement(
        type=provenance.STATEMENT_TYPE,
        subject=tuple(_subject(component) for component in result.components),
        predicate_type=provenance.SLSA_PROVENANCE,
        predicate=provenance.Predicate(
            build_definition=provenance.BuildDefinition(
                build_type=provenance.REBUILD_BUILD_TYPE,
                external_parameters=provenance.ExternalParameters(
                    project=job.project,
                    tag=job.tag,
                    source=source,
                    source_date_epoch=result.epoch,
                    recipe=provenance.RecipeReference(origin=result.found.origin.value, sha256=result.found.sha256),
                    launch_values=job.launch_values,
                ),
                internal_parameters=provenance.InternalParameters(
                    asks_for_network=bool(result.recipe.asks_for_network)
                ),
                resolved_dependencies=(
                    provenance.SourceDependency(
                        uri=job.source_url, digest=provenance.GitCommitDigest(git_commit=job.commit)
                    ),
                    *(
                        provenance.MaterialDependency(name=name, digest=provenance.Sha256(sha256=sha256))
                        for name, sha256 in result.lock.materials
                    ),
                ),
            ),
            run_details=provenance.RunDetails(
                builder=provenance.Builder(id=builder, version={"tee-portal": program_version()}),
                metadata=provenance.Metadata(
                    invocation_id=str(uuid.uuid4()), started_on=started, finished_on=max(_now(), started)
                ),
                byproducts=_byproducts(result, log_sha256),
            ),
        ),
    )


def _subject(component: BuiltComponent) -> provenance.RebuiltSubject:
    content = component.content
    return provenance.RebuiltSubject(
        name=component.role,
        digest=provenance.BothDigests(sha256=content.sha256.hex, sha384=content.sha384.hex),
        annotations=provenance.SubjectNotes(
            size=content.size,
            origin_kind=component.origin.kind,
            origin=component.origin.sentence[:1000],
            container=_container(component.container),
        ),
    )


def _container(digests: FileDigests | None) -> provenance.Container | None:
    if digests is None:
        return None
    return provenance.Container(size=digests.size, sha256=digests.sha256.hex, sha384=digests.sha384.hex)


def _byproducts(
    result: BuildResult, log_sha256: str
) -> tuple[provenance.Log, provenance.Environment, provenance.Files, provenance.Measurements]:
    files = tuple(
        provenance.RebuiltFile(
            role=file.role,
            path=file.path,
            size=file.size,
            sha256=file.digest.hex,
            origin_kind=file.origin.kind,
            origin=file.origin.sentence[:1000],
        )
        for file in result.files
    )
    return (
        provenance.Log(digest=provenance.Sha256(sha256=log_sha256)),
        provenance.Environment(annotations=result.environment),
        provenance.Files(annotations=provenance.FileList(entries=files)),
        provenance.Measurements(
            annotations=provenance.MeasurementList(entries=tuple(map(_measurement, result.measurements)))
        ),
    )


def _measurement(built: BuiltMeasurement) -> provenance.RebuiltMeasurement:
    spec = built.spec
    return provenance.RebuiltMeasurement(
        name=spec.name,
        boot_mode=spec.boot_mode,
        vcpus=spec.vcpus,
        vcpu_type=spec.vcpu_type,
        guest_features=spec.guest_features,
        vmm=spec.vmm,
        command_line=built.command_line,
        value=built.measurement.hex if built.measurement is not None else "",
        problem=_problem(built.problem),
    )


def _problem(error: PortalError | None) -> provenance.MeasurementProblem | None:
    if error is None:
        return None
    return provenance.MeasurementProblem(**{name: text[:1000] for name, text in error.as_dict().items()})


def program_version() -> str:
    """The version of this program as installed; ``unknown`` when it runs from a tree that is not."""
    try:
        return importlib.metadata.version("tee-portal")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
