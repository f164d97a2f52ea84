"""API operations on the list of rebuilds: reading it, and acting for an account by a scoped token."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Annotated, ClassVar

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Query, Router, Schema
from pydantic import ConfigDict, Field

from builds import tasks
from builds.domain.access import Scope
from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.models import Rebuild, Release
from builds.operation_rules import OperationRules, rules
from builds.paging import lead_on
from builds.public_address import public_base
from builds.rebuild_schemas import RebuildSummaryOut, rebuild_summary_out
from builds.services import requesting
from builds.services.absent import the_rebuild, the_release
from builds.services.rebuild_list import WantedRebuilds, rebuild_list
from builds.token_auth import IdempotencyKey, ScopedToken, once, token_use

router = Router()
_MAY_TRIGGER = ScopedToken(Scope.TRIGGER_REBUILD)


class RebuildNotEnded(PortalError):
    """Somebody wants to retry what has not ended yet."""

    code: ClassVar[str] = "rebuild-not-ended"
    default_todo: ClassVar[str] = "Wait for its end, or cancel it."


class RebuildWish(Schema):
    """Which release is to be rebuilt."""

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_-]+$")]
    tag: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]


class RebuildFilter(Schema):
    """Exact values; those not given are not asked."""

    project: Annotated[str | None, Field(max_length=80)] = None
    tag: Annotated[str | None, Field(max_length=200)] = None
    state: RunState | None = None


class ListedRebuildOut(RebuildSummaryOut):
    project: str
    tag: str
    started_at: datetime | None


class RebuildListOut(Schema):
    rebuilds: list[ListedRebuildOut]
    next: uuid.UUID | None


class RequestedOut(Schema):
    """The rebuild, its state, whether it was there before, and where to watch it."""

    id: uuid.UUID
    project: str
    tag: str
    state: str
    joined: bool
    api: str
    page: str
    log: str


class CancelledOut(Schema):
    """``state`` is ``running`` until the worker has stopped."""

    id: uuid.UUID
    state: str
    cancel_requested: bool


@router.get("/rebuilds", response=RebuildListOut)
@rules(OperationRules(refuses=(404,)))
def rebuilds(
    request: HttpRequest,
    response: HttpResponse,
    wanted: Query[RebuildFilter],
    before: Annotated[uuid.UUID | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
) -> RebuildListOut:
    """Rebuilds, the last queued first; ``next`` is the value of ``before`` for the next page, or null."""
    page = rebuild_list(WantedRebuilds(wanted.project, wanted.tag, wanted.state), before=before, size=limit)
    lead_on(request, response, "before", page.older)
    return RebuildListOut(rebuilds=[_listed_out(row) for row in page.rebuilds], next=page.older)


@router.post("/rebuilds", response={200: RequestedOut, 201: RequestedOut}, auth=_MAY_TRIGGER)
@rules(OperationRules(refuses=(404, 409)))
def request_rebuild(request: HttpRequest, wish: RebuildWish, idempotency_key: IdempotencyKey = None) -> HttpResponse:
    """Ask for a rebuild: 201 for a new one, 200 when it joins one that runs or waits.

    409 when nobody can rebuild the release, 429 with ``Retry-After`` when the account asked too often.
    """
    release = the_release(Release.objects.select_related("project"), wish.project, wish.tag)

    def ask() -> tuple[int, RequestedOut]:
        use = token_use(request)
        asked = requesting.ask(release, use.account, use.token)
        if not asked.joined:
            transaction.on_commit(lambda: tasks.hint_requested(asked.rebuild))
        return 200 if asked.joined else 201, _requested_out(request, release, asked)

    return _located(once(request, idempotency_key, ask))


@router.post("/rebuilds/{uuid:rebuild_id}/retry", response={200: RequestedOut, 201: RequestedOut}, auth=_MAY_TRIGGER)
@rules(OperationRules(refuses=(409,)))
def retry(request: HttpRequest, rebuild_id: uuid.UUID, idempotency_key: IdempotencyKey = None) -> HttpResponse:
    """Ask for another rebuild of the same release, as ``POST /rebuilds`` does; 409 while this one has not ended."""
    rebuild = the_rebuild(Rebuild.objects.select_related("release__project"), rebuild_id)
    if rebuild.run_state.is_live:
        raise RebuildNotEnded(f"the rebuild is {rebuild.state}", where=f"rebuild {rebuild.pk}")
    wish = RebuildWish(project=rebuild.release.project.name, tag=rebuild.release.tag)
    return request_rebuild(request, wish, idempotency_key)


@router.post("/rebuilds/{uuid:rebuild_id}/cancel", response={200: CancelledOut}, auth=_MAY_TRIGGER)
@rules(OperationRules(refuses=(409,)))
def cancel(request: HttpRequest, rebuild_id: uuid.UUID, idempotency_key: IdempotencyKey = None) -> HttpResponse:
    """Cancel a rebuild that this account asked for, or any of them for staff; 409 when it has ended."""
    rebuild = the_rebuild(Rebuild.objects.all(), rebuild_id)

    def end() -> tuple[int, CancelledOut]:
        state = requesting.cancel(rebuild, token_use(request).account)
        asked = rebuild.cancel_requested_at is not None
        return 200, CancelledOut(id=rebuild.pk, state=state.value, cancel_requested=asked)

    return once(request, idempotency_key, end)


def _located(response: HttpResponse) -> HttpResponse:
    """With the address of what was made, as the body names it."""
    response["Location"] = json.loads(response.content)["api"]
    return response


def _requested_out(request: HttpRequest, release: Release, asked: requesting.Asked) -> RequestedOut:
    rebuild = asked.rebuild
    here = public_base(request)
    return RequestedOut(
        id=rebuild.pk,
        project=release.project.name,
        tag=release.tag,
        state=rebuild.state,
        joined=asked.joined,
        api=here + reverse("api-1:rebuild", args=[rebuild.pk]),
        page=here + rebuild.get_absolute_url(),
        log=here + reverse("rebuild-log", args=[rebuild.pk]),
    )


def _listed_out(rebuild: Rebuild) -> ListedRebuildOut:
    release = rebuild.release
    return ListedRebuildOut(
        **rebuild_summary_out(rebuild).model_dump(),
        project=release.project.name,
        tag=release.tag,
        started_at=rebuild.started_at,
    )
