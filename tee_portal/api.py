"""The REST API, version 1: what the pages say, as JSON."""

from __future__ import annotations

import json
from functools import cache
from typing import Protocol, runtime_checkable

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from attestations.api import router as attestations_router
from attestations.export_api import router as export_router
from attestations.publish_api import router as publish_router
from attestations.verdict_api import release_verdict
from attestations.verdict_api import router as verdict_router
from attestations.webhook_api import router as webhooks_router
from builds.account_api import router as account_router
from builds.agent_api import router as agent_router
from builds.api import router
from builds.domain.errors import PortalError
from builds.domain.strict_json import AmbiguousJson
from builds.domain.tags import RESERVED_SEGMENT
from builds.domain.verdict import Decision
from builds.measurement_api import MeasurementNotIndexed, measurement, recompute
from builds.measurement_api import router as measurements_router
from builds.operation_rules import rules_of
from builds.operator_api import router as operators_router
from builds.public_address import public_base
from builds.services.access import NotAuthenticated, ScopeMissing
from builds.token_auth import ScopedToken
from tee_portal.api_json import ExactRenderer, StrictParser
from tee_portal.error_pages import UnusableRequest, absence
from tee_portal.openapi import Stated, described
from tee_portal.operations import conventions
from tee_portal.problem_kinds import status_of
from tee_portal.problems import problem
from tee_portal.refusals import refusal_of

api = NinjaAPI(
    title="TEE Portal",
    version="1",
    # The page that comes with the framework loads script from a CDN, which the portal's policy forbids.
    docs_url=None,
    # An operation like the others, below: held to the same conventions.
    openapi_url=None,
    renderer=ExactRenderer(),
    parser=StrictParser(),
    description="Releases, rebuilds and launch measurements of confidential VM images. Reading needs no token; "
    "acting for an account needs one, sent as `Authorization: Bearer teep_...`.",
)
api.add_decorator(conventions, mode="view")
api.add_router("", account_router)
api.add_router("", agent_router)
api.add_router("", operators_router)
# Before the releases, whose tags may hold slashes and would take its last word for a part of one.
api.add_router("", verdict_router)
api.add_router("", export_router)
api.add_router("", router)
api.add_router("", measurements_router)
api.add_router("", attestations_router)
api.add_router("", webhooks_router)
api.add_router("", publish_router)


_A_VERDICT = f"/{RESERVED_SEGMENT}"
_DECIDING = frozenset(view.__name__ for view in (release_verdict, measurement, recompute))
"""Operations whose answer is a decision."""


def _refusal(
    request: HttpRequest, error: PortalError, status: int, members: dict[str, object] | None = None
) -> HttpResponse:
    """A named error. Who asked for a decision and reads only that finds deny in every refusal."""
    asked = request.resolver_match
    # With a slash at its end the address of a verdict is that of a release, which no tag can have.
    if asked is not None and (asked.url_name in _DECIDING or request.path_info.rstrip("/").endswith(_A_VERDICT)):
        members = {**(members or {}), "decision": Decision.DENY.value}
    return problem(request, error, status, members)


@api.exception_handler(MeasurementNotIndexed)
def not_indexed(request: HttpRequest, error: MeasurementNotIndexed) -> HttpResponse:
    return _refusal(request, error, status_of(type(error)), error.members)


@runtime_checkable
class _ComesAgain(Protocol):
    """An error that passes; ``retry_after`` is in whole seconds."""

    retry_after: int


@api.exception_handler(PortalError)
def named_error(request: HttpRequest, error: PortalError) -> HttpResponse:
    status = status_of(type(error))
    response = _refusal(request, error, status)
    if isinstance(error, NotAuthenticated | ScopeMissing):
        # RFC 6750: which of them it is, in the words of its section 3.1; nothing more for who sent no token.
        said = {401: "invalid_token", 403: "insufficient_scope"}[status]
        response["WWW-Authenticate"] = f'Bearer realm="tee-portal", error="{said}"'
        if type(error) is NotAuthenticated:
            response["WWW-Authenticate"] = 'Bearer realm="tee-portal"'
    if isinstance(error, _ComesAgain):
        response["Retry-After"] = str(error.retry_after)
    return response


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return _refusal(request, absence(error, request.path), 404)


@api.exception_handler(HttpError)
def unreadable_body(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What the framework itself refuses, which is a body that is no JSON, or JSON of two meanings or too deep."""
    cause = error.__cause__
    if isinstance(cause, PortalError):
        return named_error(request, cause)
    why = str(cause) if isinstance(cause, AmbiguousJson) else "it is not JSON"
    named = UnusableRequest(
        f"the body cannot be read: {why}", where=request.path[:200], todo="Send one JSON object in UTF-8."
    )
    return _refusal(request, named, error.status_code)


@api.exception_handler(ValidationError)
def unreadable_question(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return _refusal(request, refusal_of(error.errors), 422)


@api.get("/", include_in_schema=False, url_name="index")
def index(request: HttpRequest) -> dict[str, str]:
    """Where to begin."""
    here = public_base(request) + request.path
    return {
        "description": f"{here}openapi.json",
        "releases": f"{here}releases",
        "verdict": f"{here}releases/PROJECT/TAG/verdict",
        "measurement": f"{here}measurements/HEX?project=PROJECT",
        "changes": f"{here}changes",
        "problems": public_base(request) + reverse("problems"),
    }


@api.get("/openapi.json", include_in_schema=False, url_name="openapi-json")
def openapi_json(request: HttpRequest) -> HttpResponse:
    """This description, as docs/openapi.json has it."""
    return HttpResponse(openapi_document(), content_type="application/json")


@cache
def openapi_document() -> bytes:
    """The description of every operation; the same bytes for the same code."""
    document = described(api.get_openapi_schema(path_prefix="/api/v1/"), _stated())
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _stated() -> dict[str, Stated]:
    """By the id of each operation."""
    return {
        operation.operation_id or api.get_openapi_operation_id(operation): Stated(
            scopes=tuple(auth.scope.value for auth in operation.auth_callbacks if isinstance(auth, ScopedToken)),
            body=rules_of(operation.view_func).body,
            refuses=rules_of(operation.view_func).refuses,
        )
        for bound in api._get_bound_routers()  # noqa: SLF001 - the framework has no other walk over its operations
        for view in bound.path_operations.values()
        for operation in view.operations
    }
