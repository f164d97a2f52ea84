"""What rebuilders ask of the portal: enrolment, work, progress, and handing in what they signed.

Requests that reserve or enrol are DSSE envelopes; those about a claimed rebuild carry the claim's token.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status

from attestations.services import verdicts
from builds.agent_schemas import enrolled, listed_releases, submitted
from builds.domain.answers import Enrolled, ListedReleases, Submitted, Told
from builds.domain.dsse import MAX_ENVELOPE_BYTES
from builds.domain.envelope_shapes import SignedClaim, SignedEnrolment, SignedStatement
from builds.domain.errors import LimitExceeded, PortalError
from builds.domain.job import ClaimedJob, RebuildJob, parse_as
from builds.domain.json_depth import refuse_deep
from builds.domain.lifecycle import RunState
from builds.domain.progress import Answer, FailureReport, Progress
from builds.domain.requests import MAX_REQUEST_BYTES
from builds.models import Release
from builds.operation_rules import NOT_KEPT, OperationRules, rules
from builds.paging import lead_on
from builds.services import claiming, enrolling, rebuilding, submitting
from builds.services.absent import the_release
from builds.services.jobs import job_of, jobs_after
from builds.services.rebuilding import Claim, ClaimGone
from builds.services.recording import record_progress
from builds.services.release_events import evidence_changed

router = Router(by_alias=True)
MAX_PROGRESS_BYTES = 16 * 1024 * 1024
_BEARER = "Bearer "
_FOR_AGENTS = OperationRules(kept=NOT_KEPT, by_agents=True)
_OF_A_CLAIM = (403, 410)


@router.get("/jobs", response=ListedReleases)
@rules(_FOR_AGENTS)
def jobs(
    request: HttpRequest,
    response: HttpResponse,
    project: Annotated[str | None, Query(max_length=80)] = None,
    tag: Annotated[str | None, Query(max_length=200)] = None,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> ListedReleases:
    """Releases that can be rebuilt, in the order of their import; ``next`` is ``after`` of the next page or null."""
    listed = listed_releases(jobs_after(after, project=project, tag=tag))
    lead_on(request, response, "after", listed.next)
    return listed


@router.get("/jobs/{project}/{path:tag}", response=RebuildJob)
@rules(_FOR_AGENTS)
def job(request: HttpRequest, project: str, tag: str) -> RebuildJob:
    """What rebuilding a release takes, for somebody who rebuilds without claiming anything."""
    found = the_release(Release.objects.select_related("project"), project, tag)
    return job_of(found, to_compare=True)


@router.post("/claims", response={200: ClaimedJob, 204: None})
@rules(replace(_FOR_AGENTS, body=SignedClaim, refuses=(403, 404, 409)))
def claim(request: HttpRequest, response: HttpResponse) -> Status[ClaimedJob | None]:
    """Reserve one job; 204 when there is none for this rebuilder now. The body is a signed claim request."""
    claimed = claiming.claim_signed(_body(request, 2 * MAX_REQUEST_BYTES), audience(request))
    if claimed is None:
        response["Retry-After"] = str(settings.ENVIRONMENT.claim_retry_seconds)
        return Status(204, None)
    return Status(200, claimed)


@router.post("/rebuilds/{uuid:rebuild_id}/progress", response=Told)
@rules(replace(_FOR_AGENTS, max_body=MAX_PROGRESS_BYTES, body=Progress, refuses=_OF_A_CLAIM))
def progress(request: HttpRequest, rebuild_id: uuid.UUID) -> Told:
    """Stages and log since the last time, or nothing but a sign of life; renews the lease."""
    told = parse_as(Progress, _body(request, MAX_PROGRESS_BYTES), where="progress", max_bytes=MAX_PROGRESS_BYTES)
    answer = record_progress(_claim(request, rebuild_id), told)
    if answer is Answer.GONE:
        raise ClaimGone("the claim on this rebuild is gone", where=f"rebuild {rebuild_id}")
    return Told(answer=answer.value)


@router.post("/rebuilds/{uuid:rebuild_id}/failure", response={204: None})
@rules(replace(_FOR_AGENTS, body=FailureReport, refuses=_OF_A_CLAIM))
def failure(request: HttpRequest, rebuild_id: uuid.UUID) -> Status[None]:
    """The build ended with a named error: no evidence either way."""
    report = parse_as(FailureReport, _body(request, MAX_REQUEST_BYTES), where="failure")
    held = _claim(request, rebuild_id)
    rebuild = rebuilding.claimed_rebuild(held)
    if not rebuilding.finish(held, RunState.FAILED, failure=ReportedFailure(report)):
        raise ClaimGone("the claim on this rebuild is gone", where=f"rebuild {rebuild_id}")
    evidence_changed(rebuild.release)
    return Status(204, None)


@router.post("/rebuilds/{uuid:rebuild_id}/give-back", response={204: None})
@rules(replace(_FOR_AGENTS, refuses=_OF_A_CLAIM))
def give_back(request: HttpRequest, rebuild_id: uuid.UUID) -> Status[None]:
    """The rebuilder stops: the place is open to others at once."""
    rebuilding.give_back(_claim(request, rebuild_id))
    return Status(204, None)


@router.post("/statements", response={200: Submitted, 201: Submitted})
@rules(replace(_FOR_AGENTS, max_body=MAX_ENVELOPE_BYTES, body=SignedStatement, refuses=(403, 404, 409, 410)))
def submit(request: HttpRequest, rebuild: Annotated[uuid.UUID | None, Query()] = None) -> Status[Submitted]:
    """Hand in a signed statement: an envelope or a Sigstore bundle. 200 when it was here before.

    ``rebuild`` and the claim's token are given when it was made under a claim.
    """
    data = _body(request, MAX_ENVELOPE_BYTES)
    held = _claim(request, rebuild) if rebuild is not None else None
    accepted = submitting.accept(data, held)
    if accepted.is_new:
        verdicts.record_soon(accepted.rebuild.release_id)
    return Status(201 if accepted.is_new else 200, submitted(accepted))


@router.post("/enrolments", response={201: Enrolled})
@rules(replace(_FOR_AGENTS, body=SignedEnrolment, refuses=(403, 409)))
def enrol(request: HttpRequest) -> Status[Enrolled]:
    """Make a key known; pending until an administrator or an older key of the operator vouches for it."""
    key = enrolling.enrol(_body(request, 4 * MAX_REQUEST_BYTES), audience(request))
    return Status(201, enrolled(key))


def audience(request: HttpRequest) -> str:
    """This portal by host and port: as it is known to the public, else as it was asked."""
    public = settings.ENVIRONMENT.public_url
    return urlsplit(public).netloc.lower() if public is not None else request.get_host().lower()


def _claim(request: HttpRequest, rebuild_id: uuid.UUID) -> Claim:
    header = request.headers.get("Authorization", "")
    if not header.startswith(_BEARER):
        raise ClaimGone("no token of a claim was sent", where=f"rebuild {rebuild_id}")
    return Claim(rebuild_id, header.removeprefix(_BEARER).strip())


def _body(request: HttpRequest, most: int) -> bytes:
    """The body, read no further than ``most`` bytes; ``LimitExceeded`` for a longer one, ``NestedTooDeep``."""
    data = request.read(most + 1)
    if len(data) > most:
        raise LimitExceeded(f"the request is larger than {most} bytes", where=request.path)
    refuse_deep(data, where="the body")
    return data


class ReportedFailure(PortalError):
    """A failure that a rebuilder reports; code and words are its own."""

    def __init__(self, report: FailureReport) -> None:
        super().__init__(report.what, where=report.where, todo=report.todo)
        self.code = report.code  # type: ignore[misc] # of this instance: the class has none of its own
