"""API operations on attestations."""

from __future__ import annotations

import re
from typing import Annotated

from django.http import Http404, HttpRequest
from ninja import Query, Router

from attestations.models import BundleRecord, FindingRecord
from attestations.schemas import BundleDetailOut, ClaimedOut, ClaimFilter, SightingOut, finding_out, raw_address
from attestations.services.standing import states_today

router = Router()

SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@router.get("/attestations", response=list[ClaimedOut])
def attestations(
    request: HttpRequest,
    claims: Query[ClaimFilter],
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> list[ClaimedOut]:
    """Findings whose verified claims are these, newest first: who signed what, for which release."""
    found = FindingRecord.objects.filter(**claims.model_dump(exclude_none=True)).exclude(signer="")
    rows = found.select_related("sighting__bundle", "sighting__release__project").order_by("-found_at", "-pk")
    page = list(rows.defer("sighting__bundle__content")[:limit])
    today = states_today({row.sighting_id for row in page})
    return [
        ClaimedOut(
            project=row.sighting.release.project.name,
            tag=row.sighting.release.tag,
            role=row.sighting.role,
            bundle=row.sighting.bundle.sha256,
            state_today=today[row.sighting_id].value,
            finding=finding_out(row),
        )
        for row in page
    ]


@router.get("/attestations/{sha256}", response=BundleDetailOut)
def attestation(request: HttpRequest, sha256: str) -> BundleDetailOut:
    """One bundle by the sha256 of its bytes: everywhere it was found, and every finding made, newest last."""
    bundle = stored_bundle(sha256)
    sightings = list(bundle.sightings.select_related("release__project").prefetch_related("findings"))
    today = states_today({sighting.pk for sighting in sightings})
    return BundleDetailOut(
        sha256=bundle.sha256,
        received_at=bundle.received_at,
        raw=raw_address(bundle.sha256),
        sightings=[
            SightingOut(
                project=sighting.release.project.name,
                tag=sighting.release.tag,
                role=sighting.role,
                source=sighting.source,
                seen_at=sighting.seen_at,
                state_today=today[sighting.pk].value,
                findings=[finding_out(finding) for finding in sighting.findings.all()],
            )
            for sighting in sightings
        ],
    )


def stored_bundle(sha256: str) -> BundleRecord:
    """The bundle of this digest; 404 when there is none, or when it is no digest."""
    bundle = BundleRecord.objects.filter(sha256=sha256).first() if SHA256.fullmatch(sha256) else None
    if bundle is None:
        raise Http404(f"no bundle has the digest sha256:{sha256[:64]}")
    return bundle
