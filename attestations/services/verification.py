"""Bundles into findings: stored as received, verified once each, judged for every component they were found for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from django.db import IntegrityError, transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from attestations.domain.findings import Artifact, Finding, Verification, judge_bundle
from attestations.domain.report import finding_document
from attestations.models import BundleRecord, FindingRecord, Sighting
from attestations.services.publishers import Judge, judges_of
from attestations.sigstore_verifier import MAX_BUNDLE_BYTES
from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, PortalError
from builds.models import Component, Release
from builds.services.release_events import evidence_changed

_BATCH = 200
# Columns that hold what the document of a finding says, each with what it can hold.
CLAIM_COLUMNS: Mapping[str, int | None] = {
    "state": 20,
    "reason": None,
    "verifier": 60,
    "trust_root": 60,
    "signer": 2000,
    "issuer": 500,
    "repository": 500,
    "commit": 64,
    "ref": 500,
    "workflow": 500,
    "run_url": 500,
    "runner_environment": 60,
    "predicate_type": 300,
    "subject_name": 300,
    "through": 140,
    "time_source": 80,
}
# What a database's BIGINT holds; logs count from 0, and none is that long.
_MAX_INDEX = 2**63 - 1


class BundleTooLarge(LimitExceeded):
    """A file that claims to be a bundle is larger than any bundle is."""

    code: ClassVar[str] = "bundle-too-large"
    default_todo: ClassVar[str] = "Look at the file: a Sigstore bundle has some ten kilobytes."


def record_sighting(data: bytes, release: Release, role: str, source: str) -> Sighting:
    """Keep a bundle's bytes and where they were found; the same once more changes nothing."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleTooLarge(f"the bundle has {len(data)} bytes, at most {MAX_BUNDLE_BYTES} are read", where=source)
    sha256 = hashlib.sha256(data).hexdigest()
    bundle = BundleRecord.objects.filter(sha256=sha256).first() or _create(BundleRecord(sha256=sha256, content=data))
    known = Sighting.objects.filter(bundle=bundle, release=release, role=role).first()
    return known or _create(Sighting(bundle=bundle, release=release, role=role, source=source[:300]))


def _create[Row: (BundleRecord, Sighting)](row: Row) -> Row:
    """Save a row; when somebody else was faster, that one is as good."""
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        if isinstance(row, BundleRecord):
            return BundleRecord.objects.get(sha256=row.sha256)
        return Sighting.objects.get(bundle=row.bundle, release=row.release, role=row.role)
    return row


def artifact_of(component: Component | None) -> Artifact:
    """What is known of a published component; nothing of none, and nothing of one that its container does not hold."""
    if component is None or not component.sha256:
        return Artifact(frozenset())
    return Artifact(
        content=_digests(component.sha256, component.sha384),
        container=_digests(component.container_sha256, component.container_sha384),
    )


def _digests(sha256: str, sha384: str) -> frozenset[Digest]:
    return frozenset(
        digest
        for digest in (Digest.sha256(sha256) if sha256 else None, Digest.sha384(sha384) if sha384 else None)
        if digest is not None
    )


def verify_release(release: Release) -> int:
    """Judge what is out of date among a release's sightings; how many findings were made."""
    return _judge_stale(Sighting.objects.filter(release=release))


def verify_all() -> int:
    """Judge every sighting whose trust root, policy, verifier or file changed since; memory stays flat."""
    return _judge_stale(Sighting.objects.all())


def _judge_stale(sightings: QuerySet[Sighting]) -> int:
    """Page by page in the order of bundles, so that each is verified once however many files it was found for.

    A project whose trust roots or keys cannot be had is left out, and its error raised after all others are judged.
    """
    newest = FindingRecord.objects.filter(sighting=OuterRef("pk")).order_by("-found_at", "-pk").values("basis")[:1]
    query = (
        sightings.select_related("bundle", "release__project")
        .annotate(last_basis=Coalesce(Subquery(newest), Value("")))
        .order_by("bundle_id", "pk")
    )
    judges: dict[int, Judge | PortalError] = {}
    made, after = 0, (0, 0)
    while batch := list(query.filter(Q(bundle_id__gt=after[0]) | Q(bundle_id=after[0], pk__gt=after[1]))[:_BATCH]):
        made += _judge_batch(batch, judges)
        after = (batch[-1].bundle_id, batch[-1].pk)
    failure = next((judge for judge in judges.values() if isinstance(judge, PortalError)), None)
    if failure is not None:
        raise failure
    return made


def _judge_batch(batch: Sequence[Sighting], judges: dict[int, Judge | PortalError]) -> int:
    components = {
        (component.release_id, component.role): component
        for component in Component.objects.filter(release__in={sighting.release_id for sighting in batch})
    }
    verified: dict[tuple[int, int], Verification] = {}
    findings = []
    for sighting in batch:
        project = sighting.release.project
        if project.pk not in judges:
            judges |= judges_of([project.pk])
        judge = judges[project.pk]
        if isinstance(judge, PortalError):
            continue
        artifact = artifact_of(components.get((sighting.release_id, sighting.role)))
        basis = judge.basis(sighting.release.commit, artifact)
        if basis == sighting.last_basis:  # type: ignore[attr-defined]  # annotated
            continue
        key = (sighting.bundle_id, project.pk)
        verification = verified.get(key)
        if verification is None:
            verification = judge.verifier.verify(bytes(sighting.bundle.content), artifact.content)
            # A message may be told by the file alone, so what one file gave does not hold for another.
            if verification.statement is not None:
                verified = {key: verification}
        finding = judge_bundle(verification, artifact, judge.policy.for_commit(sighting.release.commit))
        findings.append(finding_record(sighting, finding, basis))
    with transaction.atomic():
        FindingRecord.objects.bulk_create(findings)
        evidence_changed(*{record.sighting.release for record in findings})
    return len(findings)


def finding_record(sighting: Sighting, finding: Finding, basis: str) -> FindingRecord:
    """A finding as it is kept: its document in columns, so that claims can be searched."""
    document = finding_document(finding)
    verification = finding.verification
    log, root = verification.log, verification.trust_root
    texts = {name: str(getattr(document, name))[:limit] for name, limit in CLAIM_COLUMNS.items()}
    return FindingRecord(
        sighting=sighting,
        basis=basis,
        trust_root_sha256=root.sha256 if root is not None else "",
        checks=[list(check) for check in finding.checks],
        clauses=[list(clause) for clause in finding.clauses],
        log_kind=log.kind if log is not None else "",
        log_index=log.index if log is not None and log.index <= _MAX_INDEX else None,
        log_id=log.log_id if log is not None else "",
        log_inclusion=log.inclusion if log is not None else "",
        integrated_at=log.integrated_at if log is not None else None,
        signed_at=verification.signed_at,
        **texts,
    )
