"""What the rebuilds of a made-up portal made: components, files and measurements, and the statements about them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypedDict

from django.utils import timezone

from builds.domain import provenance
from builds.domain.origins import OriginKind
from builds.domain.roles import BootMode, Role
from builds.models import Material, Rebuild, RebuiltComponent, RebuiltFile, Release
from builds.pipeline.signing import FileSigner

RECIPE_SHA256 = hashlib.sha256(b"bench").hexdigest()
EPOCH = 1_700_000_000


class Digests(TypedDict):
    """Columns of a row that describe a file's bytes."""

    size: int
    sha256: str
    sha384: str


def components_of(rebuild: Rebuild, *, changed: bool) -> Iterator[RebuiltComponent]:
    for role in Role:
        yield RebuiltComponent(
            rebuild=rebuild,
            role=role,
            origin_kind=OriginKind.BUILT,
            origin="built in this rebuild",
            **digests_of(bytes_of(rebuild.release, role, changed=changed and role is Role.INITRD)),
        )


def files_of(rebuild: Rebuild, count: int) -> Iterator[RebuiltFile]:
    for number in range(count):
        path, content = _file(rebuild.release, number)
        yield RebuiltFile(
            rebuild=rebuild,
            role=Role.INITRD,
            path=path,
            size=len(content),
            sha256=sha256_of(content),
            origin_kind=OriginKind.BUILT,
            origin="built in this rebuild",
        )


def _file(release: Release, number: int) -> tuple[str, str]:
    """Path and content: the first is the binary that the measurement has to cover."""
    return ("bin/katana", bytes_of(release, Role.KATANA)) if number == 0 else (f"lib/{number}.so", f"library {number}")


def statement_of(
    rebuild: Rebuild, signer: FileSigner, files: int, materials: Sequence[Material], *, changed: bool
) -> provenance.RebuildStatement:
    release = rebuild.release
    source = provenance.SourceReference(uri=release.project.source_url, commit=release.commit)
    dependency = provenance.SourceDependency(
        uri=source.uri, digest=provenance.GitCommitDigest(git_commit=release.commit)
    )
    definition = provenance.BuildDefinition(
        build_type=provenance.REBUILD_BUILD_TYPE,
        external_parameters=provenance.ExternalParameters(
            project=release.project.name,
            tag=release.tag,
            source=source,
            source_date_epoch=EPOCH,
            recipe=provenance.RecipeReference(origin="source-tree", sha256=RECIPE_SHA256),
        ),
        internal_parameters=provenance.InternalParameters(asks_for_network=False),
        resolved_dependencies=(
            dependency,
            *(
                provenance.MaterialDependency(name=str(entry), digest=provenance.Sha256(sha256=entry.sha256))
                for entry in materials
            ),
        ),
    )
    return provenance.RebuildStatement(
        type=provenance.STATEMENT_TYPE,
        subject=tuple(_subject(row) for row in components_of(rebuild, changed=changed)),
        predicate_type=provenance.SLSA_PROVENANCE,
        predicate=provenance.Predicate(
            build_definition=definition, run_details=_run(rebuild, signer, files, changed=changed)
        ),
    )


def _subject(row: RebuiltComponent) -> provenance.RebuiltSubject:
    return provenance.RebuiltSubject(
        name=Role(row.role),
        digest=provenance.BothDigests(sha256=row.sha256, sha384=row.sha384),
        annotations=provenance.SubjectNotes(size=row.size, origin_kind=OriginKind.BUILT, origin=row.origin),
    )


def _run(rebuild: Rebuild, signer: FileSigner, files: int, *, changed: bool) -> provenance.RunDetails:
    entries = tuple(
        provenance.RebuiltFile(
            role=Role.INITRD,
            path=row.path,
            size=row.size,
            sha256=row.sha256,
            origin_kind=OriginKind.BUILT,
            origin=row.origin,
        )
        for row in files_of(rebuild, files)
    )
    measured = provenance.RebuiltMeasurement(
        name="default",
        boot_mode=BootMode.DIRECT_KERNEL,
        vcpus=4,
        vcpu_type="EPYC-v4",
        guest_features=1,
        vmm="qemu",
        command_line="console=ttyS0",
        value=measurement_of(rebuild.release, changed=changed),
    )
    return provenance.RunDetails(
        builder=provenance.Builder(id=signer.public.name),
        metadata=provenance.Metadata(
            invocation_id=str(uuid.uuid4()),
            started_on=second(rebuild.started_at),
            finished_on=second(rebuild.finished_at),
        ),
        byproducts=(
            provenance.Log(digest=provenance.Sha256(sha256=sha256_of(f"log {rebuild.pk}"))),
            provenance.Environment(annotations=rebuild.environment),
            provenance.Files(annotations=provenance.FileList(entries=entries)),
            provenance.Measurements(annotations=provenance.MeasurementList(entries=(measured,))),
        ),
    )


def second(moment: datetime | None) -> datetime:
    return (moment or timezone.now()).astimezone(UTC).replace(microsecond=0)


def bytes_of(release: Release, role: Role, *, changed: bool = False) -> str:
    """What the component holds: its names, so that no two releases share one."""
    return f"{release.project.name} {release.tag} {role}{' changed' if changed else ''}"


def measurement_of(release: Release, *, changed: bool = False) -> str:
    return hashlib.sha384(f"{release.project.name} {release.tag} measurement {changed}".encode()).hexdigest()


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests_of(text: str) -> Digests:
    data = text.encode()
    return {"size": len(data), "sha256": sha256_of(text), "sha384": hashlib.sha384(data).hexdigest()}
