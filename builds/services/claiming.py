"""Claims by signed request: who asks is who signs, and only its agent knows the token that goes with the answer."""

from __future__ import annotations

from django.conf import settings
from django.utils import timezone

from builds.domain.dsse import parse_envelope
from builds.domain.job import ClaimedJob
from builds.domain.requests import CLAIM_PAYLOAD, ClaimRequest, MalformedRequest, ReleaseName, parse_request
from builds.models import Release
from builds.services.keys import require_accepted, signing_key
from builds.services.rebuilding import Wanted, claim_next
from builds.services.submitting import UnknownRelease

_HEARTBEATS_PER_LEASE = 3


def claim_signed(body: bytes, audience: str) -> ClaimedJob | None:
    """Reserve a job for the rebuilder that signed; None when there is none for it now.

    Raises ``MalformedEnvelope``, ``MalformedRequest``, the errors of ``signing_key``, ``KeyPending``,
    ``RequestNotForThisPortal`` or ``RequestNotFresh``, and for a release by name ``UnknownRelease``, ``OperatorTied``
    or ``ReleaseNotAskable``.
    """
    envelope = parse_envelope(body, where="claim")
    if envelope.payload_type != CLAIM_PAYLOAD:
        raise MalformedRequest(f"the payload is {envelope.payload_type[:80]!r}, no claim", where="claim")
    key = signing_key(envelope)
    request = parse_request(ClaimRequest, envelope.payload)
    request.check_meant(audience, timezone.now())
    require_accepted(key)
    release = _named(request.release) if request.release is not None else None
    wanted = Wanted(release=release, project=request.project)
    given = claim_next(key.rebuilder, request.capability, request.token_sha256, request.agent, wanted)
    if given is None:
        return None
    return ClaimedJob(
        rebuild_id=given.rebuild.pk,
        job=given.job,
        lease_seconds=settings.LEASE_SECONDS,
        heartbeat_seconds=settings.LEASE_SECONDS / _HEARTBEATS_PER_LEASE,
    )


def _named(name: ReleaseName) -> Release:
    found = Release.objects.select_related("project").filter(project__name=name.project, tag=name.tag).first()
    if found is None:
        raise UnknownRelease(f"there is no release {name.project} {name.tag} here", where="claim")
    return found
