"""The REST API, version 1: what the pages say, as JSON."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from attestations.api import router as attestations_router
from attestations.webhook_api import router as webhooks_router
from builds.account_api import RebuildNotEnded
from builds.account_api import router as account_router
from builds.agent_api import router as agent_router
from builds.api import router
from builds.domain.errors import LimitExceeded, PortalError
from builds.measurement_api import router as measurements_router
from builds.operator_api import router as operators_router
from builds.pipeline.signing import SignatureMismatch
from builds.services.access import NotAuthenticated, ScopeMissing
from builds.services.enrolling import EnrolmentsFull, KeyTaken, OperatorTaken
from builds.services.idempotency import KeyReused
from builds.services.jobs import ReleaseNotAskable
from builds.services.keys import KeyExpired, KeyPending, KeyRevoked, UnknownKey
from builds.services.operators import OperatorRejected
from builds.services.queueing import RebuildAlreadyLive
from builds.services.rebuilding import ClaimGone, OperatorTied
from builds.services.requesting import NothingToRebuild, NotYours, RebuildEnded, RebuildsExhausted
from builds.services.submitting import ClaimOfAnother, InvocationReused, TrialsFull, UnknownRelease
from tee_portal.error_pages import UnusableRequest, absence
from tee_portal.refusals import refusal_of

_STATUSES: dict[type[PortalError], int] = {
    NotAuthenticated: 401,
    ScopeMissing: 403,
    NotYours: 403,
    NothingToRebuild: 409,
    RebuildAlreadyLive: 409,
    RebuildEnded: 409,
    RebuildNotEnded: 409,
    KeyReused: 422,
    RebuildsExhausted: 429,
    ClaimGone: 410,
    LimitExceeded: 413,
    UnknownRelease: 404,
    UnknownKey: 403,
    SignatureMismatch: 403,
    KeyExpired: 403,
    KeyRevoked: 403,
    KeyPending: 403,
    ClaimOfAnother: 403,
    OperatorTied: 403,
    OperatorRejected: 403,
    ReleaseNotAskable: 409,
    KeyTaken: 409,
    OperatorTaken: 409,
    InvocationReused: 409,
    TrialsFull: 403,
    EnrolmentsFull: 403,
}


api = NinjaAPI(
    title="TEE Portal",
    version="1",
    # The page that comes with the framework loads script from a CDN, which the portal's policy forbids.
    docs_url=None,
    description="Releases, rebuilds and launch measurements of confidential VM images. Reading needs no token; "
    "acting for an account needs one, sent as `Authorization: Bearer teep_...`.",
)
api.add_router("", account_router)
api.add_router("", agent_router)
api.add_router("", operators_router)
api.add_router("", router)
api.add_router("", measurements_router)
api.add_router("", attestations_router)
api.add_router("", webhooks_router)


@api.exception_handler(PortalError)
def named_error(request: HttpRequest, error: PortalError) -> HttpResponse:
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 400)
    response = api.create_response(request, error.as_dict(), status=status)
    if isinstance(error, NotAuthenticated | ScopeMissing):
        # RFC 6750: which of them it is, in the words of its section 3.1; nothing more for who sent no token.
        said = {401: "invalid_token", 403: "insufficient_scope"}[status]
        response["WWW-Authenticate"] = f'Bearer realm="tee-portal", error="{said}"'
        if type(error) is NotAuthenticated:
            response["WWW-Authenticate"] = 'Bearer realm="tee-portal"'
    if isinstance(error, RebuildsExhausted):
        response["Retry-After"] = str(error.retry_after)
    return response


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return api.create_response(request, absence(error, request.path).as_dict(), status=404)


@api.exception_handler(HttpError)
def unreadable_body(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What the framework itself refuses, which is a body that is no JSON."""
    named = UnusableRequest("the body is not JSON", where=request.path[:200], todo="Send one JSON object in UTF-8.")
    return api.create_response(request, named.as_dict(), status=error.status_code)


@api.exception_handler(ValidationError)
def unreadable_question(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return api.create_response(request, refusal_of(error.errors).as_dict(), status=422)
