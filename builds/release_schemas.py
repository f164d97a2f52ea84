"""The API's shapes of a release, and how each is filled from a view-model."""

from __future__ import annotations

from datetime import datetime

from ninja import Schema

from attestations.schemas import ReleaseAttestationsOut, release_attestations_out
from attestations.services.standing import ReleaseStanding
from builds.condition_schemas import ConditionOut, condition_out
from builds.domain.digest import Digest, FileDigests, sha256_text
from builds.domain.frozen import Sha256Text, Sha384Text
from builds.models import EmbeddedFile, Material, Release
from builds.operator_schemas import ComparisonOut, ResultOut, TallyOut, comparison_out, result_out, tally_out
from builds.rebuild_schemas import ErrorOut, RebuildSummaryOut, rebuild_summary_out
from builds.services.evidence import ComponentRow, MeasurementRow, ReleaseView


class DigestsOut(Schema):
    """Of a file: its size in bytes and its digests; every digest names its algorithm, as ``sha256:<hex>``."""

    size: int
    digest: Sha256Text
    digest_sha384: Sha384Text


class ComponentOut(Schema):
    """``member`` is the name inside a tarball of several components, ``reused_from`` an earlier release."""

    role: str
    file_name: str
    member: str | None
    reused_from: str | None
    manifest_digest: str | None
    manifest_speaks_of: str
    contradicts_manifest: bool
    content: DigestsOut | None
    container_kind: str | None
    container: DigestsOut | None
    problem: ErrorOut | None
    comparison: ComparisonOut | None
    origin_kind: str | None
    origin: str | None
    tally: TallyOut


class NotCoveredOut(Schema):
    what: str
    check: str


class MeasurementOut(Schema):
    configuration: str
    boot_mode: str
    vcpus: int
    vcpu_type: str
    guest_features: int
    vmm: str
    command_line: str | None
    values_from: str
    published: str | None
    recomputed: str | None
    rebuilt: str | None
    state: str
    coverage: list[str]
    not_covered: list[NotCoveredOut]
    problem: ErrorOut | None
    rebuilt_problem: ErrorOut | None


class VerdictOut(Schema):
    """``attestation`` is the most alarming state of all components; null when there is none."""

    decision: str
    outcome: str | None
    attestation: str | None
    tally: TallyOut
    sentence: str
    conditions: list[ConditionOut]


class NoticeOut(Schema):
    kind: str
    at: datetime
    sentence: str
    todo: str


class OpaqueOut(Schema):
    place: str
    digest: str
    reason: str


class RecipeOut(Schema):
    """``origin`` is source-tree or portal-maintained; ``author`` only of a portal-maintained one."""

    origin: str
    digest: Sha256Text
    author: str | None


class ReusedOut(Schema):
    """What the published document says was taken over from an earlier release, as its key and value."""

    key: str
    role: str | None
    origin: str


class EmbeddedFileOut(Schema):
    """A file inside a published container that nobody can look into."""

    container: str
    path: str
    size: int
    digest: Sha256Text
    digest_sha384: Sha384Text
    is_elf: bool


class AnnouncedOut(Schema):
    account: str
    token: str
    announced_at: datetime


class ReleaseOut(Schema):
    project: str
    tag: str
    commit: str
    source_url: str
    source_date_epoch: int
    document_name: str
    document_digest: Sha256Text
    recipe: RecipeOut | None
    imported_at: datetime
    announced: list[AnnouncedOut]
    materials_stored_at: datetime | None
    verdict: VerdictOut
    contradicts_manifest: bool
    notices: list[NoticeOut]
    components: list[ComponentOut]
    measurements: list[MeasurementOut]
    reused: list[ReusedOut]
    embedded_files: list[EmbeddedFileOut]
    opaque_inputs: list[OpaqueOut]
    results: list[ResultOut]
    rebuilds: list[RebuildSummaryOut]


class MaterialOut(Schema):
    """A build input; ``authenticity`` says which signed index names its digest, or why it is opaque.

    ``size`` is null, ``version`` and ``architecture`` may be empty, while only its digest is known.
    """

    name: str
    version: str
    architecture: str
    digest: Sha256Text
    size: int | None
    authenticated: bool
    authenticity: str


class ReleaseDetailOut(ReleaseOut):
    """A release with its materials and attestations, which lists leave out."""

    materials: list[MaterialOut]
    attestations: ReleaseAttestationsOut


def release_out(view: ReleaseView) -> ReleaseOut:
    release, verdict = view.release, view.verdict
    return ReleaseOut(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        source_url=release.project.source_url,
        source_date_epoch=release.source_date_epoch,
        document_name=release.document_name,
        document_digest=sha256_text(release.manifest_sha256),
        recipe=_recipe_out(release),
        imported_at=release.imported_at,
        announced=[AnnouncedOut.from_orm(told) for told in view.announcements],
        materials_stored_at=release.materials_stored_at,
        results=[result_out(result, release.project.name, release.tag) for result in view.results],
        verdict=VerdictOut(
            tally=tally_out(verdict.tally),
            decision=verdict.decision.value,
            outcome=verdict.outcome.value if verdict.outcome is not None else None,
            attestation=verdict.attestation.value if verdict.attestation is not None else None,
            sentence=verdict.sentence,
            conditions=[condition_out(entry) for entry in verdict.conditions],
        ),
        contradicts_manifest=view.contradicts,
        notices=[NoticeOut.from_orm(notice) for notice in view.notices],
        components=[_component_out(row) for row in view.components],
        measurements=[_measurement_out(row) for row in view.measurements],
        reused=[ReusedOut(key=part.key, role=part.role or None, origin=part.origin) for part in view.reused],
        embedded_files=[_embedded_out(file) for file in release.embedded_files.all()],
        opaque_inputs=[
            OpaqueOut(place=entry.place, digest=str(entry.digest), reason=entry.reason) for entry in view.opaque
        ],
        rebuilds=[rebuild_summary_out(rebuild) for rebuild in view.rebuilds],
    )


def release_detail_out(view: ReleaseView, standing: ReleaseStanding) -> ReleaseDetailOut:
    materials = view.release.materials.order_by("name", "version")
    return ReleaseDetailOut(
        **release_out(view).model_dump(),
        materials=[_material_out(material) for material in materials],
        attestations=release_attestations_out(standing),
    )


def _recipe_out(release: Release) -> RecipeOut | None:
    """None while nobody could read the source."""
    if not release.recipe_origin:
        return None
    return RecipeOut(
        origin=release.recipe_origin, digest=sha256_text(release.recipe_sha256), author=release.recipe_author or None
    )


def _component_out(row: ComponentRow) -> ComponentOut:
    published = row.published
    return ComponentOut(
        role=row.role.value,
        file_name=row.file_name,
        member=row.member or None,
        reused_from=row.reused_from or None,
        manifest_digest=str(published.claimed) if published.claimed is not None else None,
        manifest_speaks_of=published.claim_subject.value,
        contradicts_manifest=published.contradicts_manifest,
        content=_digests_out(published.content),
        container_kind=row.container_kind or None,
        container=_digests_out(published.container),
        problem=ErrorOut(**row.problem) if row.problem is not None else None,
        comparison=comparison_out(row.comparison) if row.comparison is not None else None,
        origin_kind=row.origin_kind.value if row.origin_kind is not None else None,
        origin=row.origin or None,
        tally=tally_out(row.tally),
    )


def _digests_out(digests: FileDigests | None) -> DigestsOut | None:
    if digests is None:
        return None
    return DigestsOut(size=digests.size, digest=str(digests.sha256), digest_sha384=str(digests.sha384))


def _embedded_out(file: EmbeddedFile) -> EmbeddedFileOut:
    return EmbeddedFileOut(
        container=file.container,
        path=file.path,
        size=file.size,
        digest=sha256_text(file.sha256),
        digest_sha384=str(Digest.sha384(file.sha384)),
        is_elf=file.is_elf,
    )


def _material_out(material: Material) -> MaterialOut:
    return MaterialOut(
        name=material.name,
        version=material.version,
        architecture=material.architecture,
        digest=sha256_text(material.sha256),
        size=material.size,
        authenticated=material.authenticated,
        authenticity=material.authenticity,
    )


def _measurement_out(row: MeasurementRow) -> MeasurementOut:
    configuration, known = row.configuration, row.evidence
    return MeasurementOut(
        configuration=configuration.name,
        boot_mode=configuration.boot_mode,
        vcpus=configuration.vcpus,
        vcpu_type=configuration.vcpu_type,
        guest_features=configuration.guest_features,
        vmm=configuration.vmm,
        command_line=configuration.command_line,
        values_from=configuration.origin,
        published=known.published,
        recomputed=known.recomputed,
        rebuilt=known.rebuilt,
        state=known.state.value,
        coverage=sorted(known.coverage),
        not_covered=[NotCoveredOut(**entry) for entry in configuration.not_covered],
        problem=ErrorOut(**row.problem) if row.problem is not None else None,
        rebuilt_problem=ErrorOut(**row.rebuilt_problem) if row.rebuilt_problem is not None else None,
    )
