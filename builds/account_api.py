"""API operations that act for an account, by a scoped token: what its pages do with a session."""

from __future__ import annotations

import uuid
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from builds import tasks
from builds.domain.access import Scope
from builds.models import Rebuild, Release
from builds.public_address import public_base
from builds.services import requesting
from builds.services.absent import the_rebuild, the_release
from builds.token_auth import ScopedToken, token_use

router = Router()
_MAY_TRIGGER = ScopedToken(Scope.TRIGGER_REBUILD)


class RebuildWish(Schema):
    """Which release is to be rebuilt."""

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_-]+$")]
    tag: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]


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


@router.post("/rebuilds", response={200: RequestedOut, 201: RequestedOut}, auth=_MAY_TRIGGER)
def request_rebuild(request: HttpRequest, response: HttpResponse, wish: RebuildWish) -> Status[RequestedOut]:
    """Ask for a rebuild: 201 for a new one, 200 when it joins one that runs or waits.

    409 when nobody can rebuild the release, 429 with ``Retry-After`` when the account asked too often.
    """
    release = the_release(Release.objects.select_related("project"), wish.project, wish.tag)
    use = token_use(request)
    asked = requesting.ask(release, use.account, use.token)
    if not asked.joined:
        tasks.hint_requested(asked.rebuild)
    told = _requested_out(request, release, asked)
    response["Location"] = told.api
    return Status(200 if asked.joined else 201, told)


@router.post("/rebuilds/{uuid:rebuild_id}/cancel", response={200: CancelledOut}, auth=_MAY_TRIGGER)
def cancel(request: HttpRequest, rebuild_id: uuid.UUID) -> CancelledOut:
    """Cancel a rebuild that this account asked for, or any of them for staff; 409 when it has ended."""
    rebuild = the_rebuild(Rebuild.objects.all(), rebuild_id)
    state = requesting.cancel(rebuild, token_use(request).account)
    return CancelledOut(id=rebuild.pk, state=state.value, cancel_requested=rebuild.cancel_requested_at is not None)


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
