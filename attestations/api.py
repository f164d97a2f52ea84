"""API operations on attestations."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from attestations.models import BundleRecord, FindingRecord, Sighting, VerdictRecord
from attestations.schemas import (
    BundleDetailOut,
    ClaimedOut,
    ClaimFilter,
    SightingOut,
    VerdictHistoryOut,
    finding_out,
    raw_address,
    recorded_verdict_out,
)
from attestations.services.finding_list import findings_before
from attestations.services.history import newest_verdict, recorded_before, release_then, verdict_at
from attestations.services.standing import JudgedBundle, judged_today
from builds.domain.digest import sha256_text
from builds.domain.moment import Moment
from builds.models import Release
from builds.operation_rules import OperationRules, rules
from builds.paging import lead_on
from builds.services.absent import BUNDLE, NotHere, the_release

router = Router()

MOST_SIGHTINGS = 100
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@router.get("/attestations", response=list[ClaimedOut])
@rules(OperationRules(refuses=(404,)))
def attestations(
    request: HttpRequest,
    response: HttpResponse,
    claims: Query[ClaimFilter],
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> list[ClaimedOut]:
    """Findings whose verified claims are these, newest first: who signed what, for which release.

    The answer is a plain list: only ``Link`` leads to the next page.
    """
    found = findings_before(before, size=limit, **claims.model_dump(exclude_none=True))
    page = found.findings
    lead_on(request, response, "before", found.older)
    sightings = Sighting.objects.filter(pk__in={row.sighting_id for row in page})
    today = {entry.sighting.pk: entry for entry in judged_today(sightings)}
    return [_claimed(row, today[row.sighting_id]) for row in page]


def _claimed(finding: FindingRecord, today: JudgedBundle) -> ClaimedOut:
    release = today.sighting.release
    return ClaimedOut(
        project=release.project.name,
        tag=release.tag,
        role=today.sighting.role,
        bundle=sha256_text(today.sighting.bundle.sha256),
        state_today=today.state.value,
        finding=finding_out(finding),
    )


@router.get("/attestations/{hex:sha256}", response=BundleDetailOut)
def attestation(request: HttpRequest, sha256: str) -> BundleDetailOut:
    """One bundle by the sha256 of its bytes: where it was found, newest first, and every finding, newest last.

    ``more_sightings`` says that there are older places than the hundred that are listed.
    """
    bundle = stored_bundle(sha256)
    newest = list(bundle.sightings.order_by("-pk").values_list("pk", flat=True)[: MOST_SIGHTINGS + 1])
    listed = Sighting.objects.filter(pk__in=newest[:MOST_SIGHTINGS]).order_by("-pk")
    return BundleDetailOut(
        digest=sha256_text(bundle.sha256),
        received_at=bundle.received_at,
        raw=raw_address(bundle.sha256),
        sightings=[_seen(entry) for entry in judged_today(listed)],
        more_sightings=len(newest) > MOST_SIGHTINGS,
    )


def _seen(entry: JudgedBundle) -> SightingOut:
    sighting = entry.sighting
    return SightingOut(
        project=sighting.release.project.name,
        tag=sighting.release.tag,
        role=sighting.role,
        source=sighting.source,
        seen_at=sighting.seen_at,
        state_today=entry.state.value,
        findings=[finding_out(finding) for finding in sighting.findings.all()],
    )


@router.get("/verdicts/{project}/{path:tag}", response=VerdictHistoryOut)
def verdicts(
    request: HttpRequest,
    response: HttpResponse,
    project: str,
    tag: str,
    *,
    at: Annotated[Moment | None, Query()] = None,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> VerdictHistoryOut:
    """Every signed verdict of a release, newest first, and the one that held ``at`` a moment (the newest, when not
    given, which says nothing of what changed since).

    ``next`` is the value of ``before`` for older ones, or null. A moment that lies ahead, or before the release was
    imported, is refused; of one after ``judged_at`` nothing is told.
    """
    rows = Release.objects.all()
    release = the_release(rows, project, tag) if at is None else release_then(rows, project, tag, at)
    held = newest_verdict(release) if at is None else _held(release, at)
    page = recorded_before(release, before, size=limit)
    lead_on(request, response, "before", page.older)
    return VerdictHistoryOut(
        verdict=recorded_verdict_out(held) if held is not None else None,
        judged_at=release.judged_at,
        history=[recorded_verdict_out(record) for record in page.records],
        next=page.older,
    )


def _held(release: Release, moment: datetime) -> VerdictRecord | None:
    held = verdict_at(release, moment)
    return held.record if held.is_vouched_for else None


def stored_bundle(sha256: str) -> BundleRecord:
    """The bundle of this digest; 404 when there is none, or when it is no digest."""
    bundle = BundleRecord.objects.filter(sha256=sha256).first() if SHA256.fullmatch(sha256) else None
    if bundle is None:
        raise NotHere(BUNDLE, f"sha256:{sha256}")
    return bundle
