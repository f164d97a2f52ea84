"""API operations. Each returns the same view-model that its page renders."""

from __future__ import annotations

import uuid
from typing import Annotated

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.utils.cache import get_conditional_response
from ninja import Query, Router

from attestations.services import standing
from attestations.services.answer_version import releases_state
from builds import log_gate
from builds.digest_schemas import DigestOut, digest_out
from builds.domain.digest import Digest
from builds.models import Release
from builds.operation_rules import FOR_A_MOMENT, OperationRules, rules
from builds.paging import lead_on
from builds.public_address import public_base
from builds.raw_files import FOREVER
from builds.rebuild_schemas import RebuildOut, rebuild_out
from builds.release_list_schemas import ReleaseListOut, listed_release_out
from builds.release_schemas import ReleaseDetailOut, release_detail_out
from builds.services import build_logs, pages
from builds.services.absent import DIGEST, NotHere, the_release
from builds.services.digest_page import digest_page

router = Router()
_PLAIN_TEXT = {"responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}}


def _newest(_request: HttpRequest) -> str:
    return releases_state()


@router.get("/releases", response=ReleaseListOut)
@rules(OperationRules(state=_newest))
def releases(
    request: HttpRequest,
    response: HttpResponse,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> ReleaseListOut:
    """Releases with their verdicts, newest first; ``next`` is the value of ``before`` for the next page, or null."""
    page = pages.release_page(publishers_of=standing.publishers_of, before=before, size=limit)
    lead_on(request, response, "before", page.older)
    base = public_base(request)
    return ReleaseListOut(releases=[listed_release_out(view, base) for view in page.views], next=page.older)


@router.get("/releases/{project}/{path:tag}", response=ReleaseDetailOut)
def release(request: HttpRequest, project: str, tag: str) -> ReleaseDetailOut:
    """One release with its verdict, components, measurements, materials and rebuilds."""
    found = the_release(Release.objects.with_evidence(), project, tag)
    return release_detail_out(*standing.judged_view(found))


@router.get("/rebuilds/{uuid:rebuild_id}", response=RebuildOut)
def rebuild(request: HttpRequest, rebuild_id: uuid.UUID) -> RebuildOut:
    """One rebuild with its stages, digests, origins and failure."""
    return rebuild_out(pages.rebuild_with_evidence(rebuild_id))


@router.get("/rebuilds/{uuid:rebuild_id}/log", response={200: None}, openapi_extra=_PLAIN_TEXT)
def rebuild_log(request: HttpRequest, rebuild_id: uuid.UUID) -> HttpResponseBase:
    """The log so far, as plain text; of a run that has ended, the same for ever. 503 while many read whole logs."""
    size = build_logs.log_size(rebuild_id)
    # A log only grows.
    headers = {"ETag": f'"{rebuild_id}-{size.bytes}"', "Cache-Control": FOREVER if size.is_final else FOR_A_MOMENT}
    if isinstance(get_conditional_response(request, etag=headers["ETag"]), HttpResponseNotModified):
        return HttpResponseNotModified(headers=headers)
    return log_gate.whole_log(build_logs.blocks(rebuild_id, size.bytes), size.bytes, headers)


@router.get("/components/{digest}", response=DigestOut)
def component(request: HttpRequest, digest: str) -> DigestOut:
    """Everywhere that bytes were seen, by ``sha256:HEX`` or ``sha384:HEX``; 404 when they never were."""
    page = digest_page(Digest.parse(digest))
    if not page.is_known:
        raise NotHere(DIGEST, str(page.digest))
    return digest_out(page)
