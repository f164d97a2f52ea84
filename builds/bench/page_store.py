"""A portal of a size that real ones reach in years: releases, results, logs and verdicts, made up but signed for real.

Rows are as imports, rebuilds and judgements leave them; nothing was published, built or booted.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import ExpectedPublisher
from attestations.services import trust_roots, verdicts, verification
from builds.bench.page_content import (
    EPOCH,
    RECIPE_SHA256,
    bytes_of,
    components_of,
    digests_of,
    files_of,
    measurement_of,
    sha256_of,
    statement_of,
)
from builds.bench.rebuilder_store import make_operator
from builds.domain import provenance
from builds.domain.digest import Digest
from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.lifecycle import RunState, StageState
from builds.domain.materials import lock_digest
from builds.domain.roles import BootMode, Role
from builds.models import (
    Component,
    IndexedMeasurement,
    LaunchConfiguration,
    LogChunk,
    Material,
    Measurement,
    MeasurementSeries,
    Project,
    Rebuild,
    RebuilderKey,
    RebuildStage,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
    Release,
    StoredStatement,
)
from builds.pipeline.measurement import vcpu_signature
from builds.pipeline.signing import FileSigner
from builds.services import measurement_index
from builds.services.recording import LogEnd

_PROJECTS = 4
_OPERATORS = 20
_MATERIALS = 83
_STAGES = ("source", "materials", "base", "reproducible-binary", "initrd", "vm-image")
_VCPUS, _VCPU_TYPE, _COMMAND_LINE = 4, "EPYC-v4", "console=ttyS0"
_CPU_SIGNATURE = vcpu_signature(_VCPU_TYPE)
_COVERAGE = ["cmdline", "initrd", "kernel", "ovmf"]
_BATCH = 2000
_CHUNK_LINES = 50
_RUNNING = 10
"""So many rebuilds of each project are running."""
# Of ten rebuilds of a release: seven came to a result, two failed, one was cancelled.
_STATES = (*[RunState.SUCCEEDED] * 7, RunState.FAILED, RunState.FAILED, RunState.CANCELLED)
_DISPUTED_EACH = 20
"""Of so many releases one has an operator that contradicts."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much there is. ``components`` counts published and rebuilt components and the files inside them."""

    releases: int = 2000
    rebuilds: int = 20_000
    components: int = 200_000
    log_lines: int = 2_000_000


def fill(scale: Scale, keys: Path) -> None:
    """Fill an empty, migrated database; ``keys`` is where the operators' keys are made."""
    keys.mkdir(parents=True, exist_ok=True)
    signers = [make_operator(number, keys) for number in range(_OPERATORS)]
    domain = TrustDomain()
    trust_roots.add("bench", domain.trusted_root(), "minted for a benchmark")
    materials = Material.objects.bulk_create(_material(number) for number in range(_MATERIALS))
    workflow = GitHubWorkflow()
    for number in range(_PROJECTS):
        project = Project.objects.create(name=f"bench-{number}", source_url=f"https://github.com/{workflow.repository}")
        ExpectedPublisher.objects.create(
            project=project,
            repository=f"https://github.com/{workflow.repository}",
            workflow=workflow.workflow,
            trust_roots=["bench"],
        )
        releases = [_release(project, at, materials) for at in range(scale.releases // _PROJECTS)]
        _links(releases, materials)
        _attest(domain, releases)
        _Results(scale, releases, signers, materials).fill()
    verdicts.record_due()


def grow(turn: int) -> None:
    """A few more lines for every rebuild that is running."""
    for rebuild in Rebuild.objects.filter(state=RunState.RUNNING):
        end = LogEnd.of(rebuild)
        text = "".join(f"CC      drivers/net/object_{turn}_{number}.o\n" for number in range(5))
        end.chunk(rebuild, end.sequence + 1, 2, text).save()


def index() -> None:
    """128 measurements of each release in the index, one of them its published one. Rows as imports leave them."""
    for project in Project.objects.order_by("pk"):
        releases = list(project.releases.order_by("pk"))
        series = MeasurementSeries.objects.bulk_create(_series(release) for release in releases)
        IndexedMeasurement.objects.bulk_create(
            (
                IndexedMeasurement(key=measurement_index.key_of(digest), series=row, vcpus=vcpus)
                for row in series
                for vcpus, digest in enumerate(measurement_index.digests_in(row), 1)
            ),
            batch_size=_BATCH,
        )


def _series(release: Release) -> MeasurementSeries:
    digests = [hashlib.sha384(f"{release.pk} {vcpus}".encode()).digest() for vcpus in range(1, 129)]
    digests[_VCPUS - 1] = bytes.fromhex(measurement_of(release))
    return MeasurementSeries(
        release=release,
        basis=sha256_of(release.tag),
        boot_mode=BootMode.DIRECT_KERNEL,
        cpu_signature=_CPU_SIGNATURE,
        guest_features=1,
        vmm="qemu",
        command_line=_COMMAND_LINE,
        digests=b"".join(digests),
    )


def _material(number: int) -> Material:
    return Material(
        sha256=sha256_of(f"material {number}"),
        name=f"package-{number}",
        version=f"1.{number}-1",
        architecture="amd64",
        suite="trixie",
        size=1000 + number,
        authenticated=True,
        authenticity="named by the signed index of trixie of 2026-11-20, signed by the archive's keys",
    )


def _release(project: Project, number: int, materials: Sequence[Material]) -> Release:
    tag = f"v1.{number}.0"
    moment = timezone.now() - timedelta(hours=number)
    release = Release.objects.create(
        project=project,
        tag=tag,
        commit=GitHubWorkflow().commit,
        source_date_epoch=EPOCH,
        commit_time=EPOCH,
        manifest=b"{}",
        manifest_sha256=sha256_of(f"manifest {project.name} {tag}"),
        recipe_origin="source-tree",
        recipe_sha256=RECIPE_SHA256,
        recipe_roles=sorted(role.value for role in Role),
        lock_sha256=lock_digest([material.sha256 for material in materials]),
        imported_at=moment,
        materials_stored_at=moment,
    )
    Component.objects.bulk_create(
        Component(
            release=release,
            role=role,
            file_name=f"{role}.img",
            claimed_digest=f"sha256:{sha256_of(bytes_of(release, role))}",
            **digests_of(bytes_of(release, role)),
        )
        for role in Role
    )
    configuration = LaunchConfiguration.objects.create(
        release=release,
        name="default",
        boot_mode=BootMode.DIRECT_KERNEL,
        vcpus=_VCPUS,
        vcpu_type=_VCPU_TYPE,
        guest_features=1,
        vmm="qemu",
        command_line=_COMMAND_LINE,
        origin="made up for a benchmark",
        not_covered=[{"what": "data disk", "check": "the host"}],
    )
    value = measurement_of(release)
    Measurement.objects.create(
        launch_configuration=configuration, published=value, recomputed=value, coverage=_COVERAGE
    )
    return release


def _links(releases: Sequence[Release], materials: Sequence[Material]) -> None:
    through = Release.materials.through
    through.objects.bulk_create(
        (through(release_id=release.pk, material_id=material.pk) for release in releases for material in materials),
        batch_size=_BATCH,
    )


def _attest(domain: TrustDomain, releases: Sequence[Release]) -> None:
    """One bundle for each release, of which every component is a subject."""
    for release in releases:
        digests = {role.value: Digest.sha256(sha256_of(bytes_of(release, role))) for role in Role}
        bundle = domain.attest(digests, GitHubWorkflow())
        for role in Role:
            verification.record_sighting(bundle, release, role, "bench")
        verification.verify_release(release)


@dataclass(frozen=True, slots=True)
class _Results:
    """All rebuilds of a project's releases, with what each left."""

    scale: Scale
    releases: Sequence[Release]
    signers: Sequence[FileSigner]
    materials: Sequence[Material]

    def fill(self) -> None:
        keys = {key.fingerprint: key for key in RebuilderKey.objects.select_related("rebuilder")}
        owners = [keys[signer.public.fingerprint] for signer in self.signers]
        each = self.scale.rebuilds // self.scale.releases
        rebuilds, made = [], []
        for place, release in enumerate(self.releases):
            for turn in range(each):
                who = (place + turn) % len(self.signers)
                rebuild = _rebuild(release, owners[who], _STATES[turn % len(_STATES)], turn)
                rebuilds.append(rebuild)
                if rebuild.state == RunState.SUCCEEDED:
                    changed = place % _DISPUTED_EACH == 0 and turn == 0
                    made.append((rebuild, self.signers[who], owners[who], changed))
        running = [_running(release, owners[-1]) for release in self.releases[:_RUNNING]]
        rebuilds += running
        Rebuild.objects.bulk_create(rebuilds, batch_size=_BATCH)
        RebuildStage.objects.bulk_create(
            (stage for rebuild in rebuilds for stage in _stages(rebuild)), batch_size=_BATCH
        )
        lines = self.scale.log_lines // self.scale.rebuilds
        LogChunk.objects.bulk_create((chunk for rebuild in rebuilds for chunk in _log(rebuild, lines)), batch_size=500)
        self._components(made)

    def _components(self, made: Sequence[tuple[Rebuild, FileSigner, RebuilderKey, bool]]) -> None:
        components = [row for rebuild, _, _, changed in made for row in components_of(rebuild, changed=changed)]
        RebuiltComponent.objects.bulk_create(components, batch_size=_BATCH)
        # What is left of the number: files inside the initrd, as many for each result.
        of_all = len(Role) * self.scale.releases + len(components) * _PROJECTS
        each = max(1, (self.scale.components - of_all) // (len(made) * _PROJECTS))
        files = [row for rebuild, *_ in made for row in files_of(rebuild, each)]
        RebuiltFile.objects.bulk_create(files, batch_size=_BATCH)
        configurations = dict(
            LaunchConfiguration.objects.filter(release__in=self.releases).values_list("release", "pk")
        )
        RebuiltMeasurement.objects.bulk_create(
            (
                RebuiltMeasurement(
                    rebuild=rebuild,
                    launch_configuration_id=configurations[rebuild.release_id],
                    value=measurement_of(rebuild.release, changed=changed),
                )
                for rebuild, _, _, changed in made
            ),
            batch_size=_BATCH,
        )
        StoredStatement.objects.bulk_create(
            (
                _signed(rebuild, signer, key, statement_of(rebuild, signer, each, self.materials, changed=changed))
                for rebuild, signer, key, changed in made
            ),
            batch_size=_BATCH,
        )


def _rebuild(release: Release, key: RebuilderKey, state: RunState, turn: int) -> Rebuild:
    queued = release.imported_at + timedelta(minutes=20 * turn)
    failure = {"code": "stage-failed", "what": "make ended with 2", "where": "stage initrd", "todo": "Read the log."}
    return Rebuild(
        id=uuid.uuid4(),
        release=release,
        rebuilder=key.rebuilder,
        state=state,
        queued_at=queued,
        started_at=queued + timedelta(seconds=5),
        finished_at=queued + timedelta(minutes=10),
        environment={"engine_version": "20.10.24", "kernel": f"6.1.{turn}", "cpu": "AMD EPYC"},
        failure=failure if state == RunState.FAILED else None,
    )


def _running(release: Release, key: RebuilderKey) -> Rebuild:
    now = timezone.now()
    return Rebuild(
        id=uuid.uuid4(),
        release=release,
        rebuilder=key.rebuilder,
        state=RunState.RUNNING,
        queued_at=now - timedelta(minutes=9),
        started_at=now - timedelta(minutes=8),
        lease_expires_at=now + timedelta(days=1),
        claim_sha256=sha256_of(f"claim {release.project.name} {release.tag}"),
        worker="bench",
    )


def _stages(rebuild: Rebuild) -> Iterator[RebuildStage]:
    """All of them; of a running rebuild half, the last of which is going on."""
    began = rebuild.started_at or rebuild.queued_at
    names = _STAGES[: len(_STAGES) // 2] if rebuild.run_state is RunState.RUNNING else _STAGES
    for position, name in enumerate(names):
        started = began + timedelta(seconds=90 * position)
        goes_on = rebuild.run_state is RunState.RUNNING and name == names[-1]
        yield RebuildStage(
            rebuild=rebuild,
            position=position,
            name=name,
            state=StageState.RUNNING if goes_on else StageState.SUCCEEDED,
            started_at=started,
            ended_at=None if goes_on else started + timedelta(seconds=90),
            exit_code=None if goes_on else 0,
        )


def _log(rebuild: Rebuild, lines: int) -> Iterator[LogChunk]:
    end = LogEnd()
    for first in range(0, lines, _CHUNK_LINES):
        numbers = range(first, min(first + _CHUNK_LINES, lines))
        text = "".join(f"CC      net/ipv4/object_{number}.o  of a made-up build\n" for number in numbers)
        chunk = end.chunk(rebuild, end.sequence + 1, 3, text)
        yield chunk
        end = LogEnd.after(chunk)


def _signed(
    rebuild: Rebuild, signer: FileSigner, key: RebuilderKey, statement: provenance.RebuildStatement
) -> StoredStatement:
    payload = statement.encode()
    return StoredStatement(
        rebuild=rebuild,
        key=key,
        content=signer.sign(IN_TOTO_PAYLOAD, payload).as_bytes(),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        invocation_id=statement.metadata.invocation_id,
        log_sha256=statement.log_sha256,
        finished_on=statement.metadata.finished_on,
        received_at=rebuild.finished_at or rebuild.queued_at,
    )
