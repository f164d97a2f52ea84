"""Rebuilders through the database: a queue to claim from, and a verdict over many results."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.bench.copying_agent import EPOCH, RECIPE_SHA256
from builds.domain.materials import lock_digest
from builds.domain.origins import OriginKind
from builds.domain.queue import Capability, Priority
from builds.domain.requests import CLAIM_PAYLOAD, ClaimRequest
from builds.domain.roles import Role
from builds.models import (
    Component,
    Operator,
    Project,
    Rebuild,
    Rebuilder,
    RebuilderKey,
    RebuiltComponent,
    Release,
    StoredStatement,
)
from builds.pipeline.signing import FileSigner, keep_signer
from builds.services.claiming import claim_signed
from builds.services.evidence import view_of
from builds.snapshot import one_snapshot

AUDIENCE = "bench.invalid"
CONTENT = b"a small kernel\n"
_ROUNDS = 7


@dataclass(frozen=True, slots=True)
class ClaimFigures:
    """How many were claimed by how many agents in how many seconds, and how many were handed out twice."""

    agents: int
    queued: int
    claimed: int
    seconds: float
    twice: int


@dataclass(frozen=True, slots=True)
class VerdictFigures:
    """Seconds and statements of one verdict over so many results of so many operators."""

    results: int
    operators: int
    seconds: float
    queries: int


def make_release(project: Project, tag: str) -> Release:
    """A release of one component that a copy of ``CONTENT`` reproduces."""
    release = Release.objects.create(
        project=project,
        tag=tag,
        commit="5f" * 20,
        source_date_epoch=EPOCH,
        commit_time=EPOCH,
        manifest=b"{}",
        manifest_sha256="0" * 64,
        recipe_origin="source-tree",
        recipe_sha256=RECIPE_SHA256,
        recipe_roles=[Role.KERNEL.value],
        lock_sha256=lock_digest([]),
        materials_stored_at=timezone.now(),
    )
    sha256, sha384 = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha384(CONTENT).hexdigest()
    Component.objects.create(
        release=release,
        role=Role.KERNEL,
        file_name="vmlinuz",
        claimed_digest=f"sha256:{sha256}",
        size=len(CONTENT),
        sha256=sha256,
        sha384=sha384,
    )
    return release


def make_operator(number: int, keys: Path) -> FileSigner:
    """An accepted operator with one rebuilder, whose key lies in ``keys``."""
    signer = keep_signer(keys / f"{number}.pem")
    now = timezone.now()
    operator = Operator.objects.create(
        slug=f"bench-{number}", name=f"Bench {number}", accepted_at=now, accepted_by="bench", identified_by="made here"
    )
    rebuilder = Rebuilder.objects.create(operator=operator, name="main")
    public = signer.public
    RebuilderKey.objects.create(
        rebuilder=rebuilder,
        fingerprint=public.fingerprint,
        algorithm=public.algorithm,
        pem=public.pem,
        accepted_at=now,
        not_before=now,
    )
    return signer


def open_places(project: Project, count: int, prefix: str) -> None:
    """Releases with one open place each."""
    for number in range(count):
        release = make_release(project, f"{prefix}{number}")
        Rebuild.objects.create(release=release, priority=Priority.NEW_RELEASE, turn=number + 1)


def measure_claims(keys: Path, *, agents: int, queued: int, claims: int) -> dict[str, float]:
    """``agents`` threads with a connection each, claiming by signed request until ``claims`` are handed out."""
    project = Project.objects.create(name="bench-claims", source_url="file:///nowhere", needed_operators=1)
    open_places(project, queued, "c")
    first = Operator.objects.count()
    signers = [make_operator(first + number, keys) for number in range(agents)]
    taken: list[uuid.UUID] = []
    ready = threading.Barrier(agents + 1)

    def poll(signer: FileSigner) -> None:
        ready.wait()
        try:
            while len(taken) < claims:
                claimed = claim_signed(_request(signer), AUDIENCE)
                if claimed is None:
                    return
                taken.append(claimed.rebuild_id)
        finally:
            connection.close()

    threads = [threading.Thread(target=poll, args=(signer,)) for signer in signers]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    return asdict(ClaimFigures(agents, queued, len(taken), seconds, len(taken) - len(set(taken))))


def _request(signer: FileSigner) -> bytes:
    request = ClaimRequest(
        portal=AUDIENCE,
        key=signer.public.name,
        issued_at=datetime.now(UTC),
        token_sha256=secrets.token_hex(32),
        capability=Capability(memory_bytes=2**40, disk_bytes=2**40),
        agent="bench",
    )
    return signer.sign(CLAIM_PAYLOAD, request.model_dump_json(by_alias=True).encode()).as_bytes()


def measure_verdicts(keys: Path, *, results: int, operators: Sequence[int]) -> list[dict[str, float]]:
    """A verdict over ``results`` results, once for each number of operators they are of."""
    project = Project.objects.create(name="bench-verdicts", source_url="file:///nowhere")
    first = Operator.objects.count()
    for number in range(max(operators)):
        make_operator(first + number, keys)
    rebuilders = list(Rebuilder.objects.order_by("-pk").prefetch_related("keys")[: max(operators)])
    figures = []
    for count in operators:
        release = make_release(project, f"of-{count}")
        _fill(release, rebuilders[:count], results)
        figures.append(asdict(_verdict(release, results, count)))
    return figures


def _fill(release: Release, rebuilders: Sequence[Rebuilder], results: int) -> None:
    """Results as handing in leaves them; bytes of statements do not matter to a verdict."""
    component = release.components.get()
    now = timezone.now()
    for number in range(results):
        rebuilder = rebuilders[number % len(rebuilders)]
        rebuild = Rebuild.objects.create(release=release, rebuilder=rebuilder, state="succeeded", finished_at=now)
        StoredStatement(
            rebuild=rebuild,
            key=rebuilder.keys.all()[0],
            content=b"{}",
            payload_sha256=secrets.token_hex(32),
            invocation_id=uuid.uuid4(),
            log_sha256="0" * 64,
            finished_on=now - timedelta(seconds=results - number),
        ).save()
        RebuiltComponent(
            rebuild=rebuild,
            role=component.role,
            size=len(CONTENT),
            sha256=component.sha256,
            sha384=component.sha384,
            origin_kind=OriginKind.BUILT,
            origin="copied",
        ).save()


def _verdict(release: Release, results: int, operators: int) -> VerdictFigures:
    times = []
    with one_snapshot(), CaptureQueriesContext(connection) as queries:
        view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    for _ in range(_ROUNDS):
        began = time.monotonic()
        with one_snapshot():
            view = view_of(Release.objects.with_evidence().get(pk=release.pk))
        times.append(time.monotonic() - began)
    assert view.verdict.tally.reproduced == operators  # noqa: S101 - a figure of something else is none
    return VerdictFigures(results, operators, median(times), len(queries))
