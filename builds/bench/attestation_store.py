"""Attestations through the database: a release from bytes to standing, and many bundles judged anew."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import ExpectedPublisher
from attestations.services import trust_roots, verification
from attestations.services.standing import standings_of
from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Project, Release
from builds.snapshot import one_snapshot

BUNDLES_OF_A_RELEASE = (3, 3, 2, 2, 2)
_COMMIT = "5f" * 20
_WORKFLOW = GitHubWorkflow(commit=_COMMIT)
_ROUNDS = 9
_FIRST = 1000
_KIB_IN_MIB = 1024


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """Seconds and mebibytes. ``grown_mib`` is memory gained from the first thousand bundles to the last."""

    release_seconds: float
    stored: int
    reverify_seconds: float
    grown_mib: float
    peak_mib: float


def measure(count: int) -> dict[str, float]:
    """All figures, in the database that this process uses, which should be nobody else's."""
    domain = TrustDomain()
    project = Project.objects.create(name="bench", source_url="file:///nowhere")
    trust_roots.add("bench", domain.trusted_root(), "minted for a benchmark")
    publisher = ExpectedPublisher.objects.create(
        project=project,
        repository=f"https://github.com/{_WORKFLOW.repository}",
        workflow=_WORKFLOW.workflow,
        trust_roots=["bench"],
    )
    seconds = median(_release(project, domain, f"v{number}") for number in range(_ROUNDS))
    release = _make_release(project, "many")
    first = min(count, _FIRST)
    _store(release, domain, first)
    verification.verify_all()
    at_first = _memory("VmRSS")
    _store(release, domain, count - first)
    verification.verify_all()
    publisher.ref = "refs/tags/v*"
    publisher.save()
    began = time.monotonic()
    made = verification.verify_all()
    elapsed = time.monotonic() - began
    if made < count:
        raise PortalError(f"only {made} of {count} bundles were judged anew", where="benchmark")
    grown = _memory("VmRSS") - at_first
    return asdict(StoreFigures(seconds, made, elapsed, grown, _memory("VmHWM")))


def _release(project: Project, domain: TrustDomain, tag: str) -> float:
    """Seconds from twelve bundles' bytes to the standing of a release with five components."""
    release = _make_release(project, tag)
    bundles = [
        (component.role, _attest(domain, component))
        for component, wanted in zip(release.components.all(), BUNDLES_OF_A_RELEASE, strict=True)
        for _ in range(wanted)
    ]
    began = time.monotonic()
    for role, data in bundles:
        verification.record_sighting(data, release, role, "bench")
    verification.verify_release(release)
    with one_snapshot():
        standing = standings_of([Release.objects.prefetch_related("components").get(pk=release.pk)])[release.pk]
    elapsed = time.monotonic() - began
    if {entry.state for entry in standing.components} != {AttestationState.VERIFIED}:
        raise PortalError("the release did not verify", where="benchmark")
    return elapsed


def _make_release(project: Project, tag: str) -> Release:
    release = Release.objects.create(
        project=project, tag=tag, commit=_COMMIT, source_date_epoch=0, manifest=b"{}", manifest_sha256="0" * 64
    )
    for role in Role:
        data = f"{tag} {role}".encode()
        Component.objects.create(
            release=release,
            role=role,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            sha384=hashlib.sha384(data).hexdigest(),
        )
    return release


def _attest(domain: TrustDomain, component: Component) -> bytes:
    return domain.attest({component.role: Digest.sha256(component.sha256)}, _WORKFLOW)


def _store(release: Release, domain: TrustDomain, count: int) -> None:
    component = release.components.first()
    if component is not None:
        for _ in range(count):
            verification.record_sighting(_attest(domain, component), release, component.role, "bench")


def _memory(name: str) -> float:
    """Mebibytes of this process (proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / _KIB_IN_MIB
