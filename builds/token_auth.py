"""How API operations ask for a token: ``auth=ScopedToken(Scope...)``; the operation finds ``request.auth``.

With ``once`` such an operation heeds an ``Idempotency-Key``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Header, Schema
from ninja.security.http import HttpAuthBase

from builds.domain.access import Scope
from builds.services import idempotency
from builds.services.access import TokenUse, authenticate

# No alias of its own kind (PEP 695): the framework would not look into it.
IdempotencyKey = Annotated[
    str | None,
    # Spaces at its ends are none of a field's value (RFC 9110, section 5.5).
    Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"),
]


class ScopedToken(HttpAuthBase):
    """A bearer token that may do what ``scope`` names. A session's cookie is not looked at, so no form can use one."""

    openapi_scheme = "bearer"

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> TokenUse:
        return authenticate(request.headers.get("Authorization"), self.scope)


def token_use(request: HttpRequest) -> TokenUse:
    """What ``ScopedToken`` found, in an operation that it stands before."""
    return cast("TokenUse", request.auth)  # type: ignore[attr-defined] # set by ninja


def once[Out: Schema](
    request: HttpRequest,
    key: str | None,
    act: Callable[[], tuple[int, Out]],
    *,
    secrets: tuple[str, ...] = (),
    body: bytes | None = None,
) -> HttpResponse:
    """What ``act`` answers, its status and body; the same again for a request that comes again with its key.

    ``secrets`` are members that are null in an answer that is given again. ``body`` is what tells one request from
    another where the request's own bytes do not: of files, which come under another boundary each time.
    """

    def made() -> idempotency.Answer:
        status, told = act()
        # Written as every other answer is, moments to the millisecond.
        return idempotency.Answer(status, told.model_dump(mode="json"))

    told_apart_by = body if body is not None else request.body
    asked = idempotency.Request(token_use(request).account, key, str(request.method), request.path, told_apart_by)
    answer = idempotency.answered(asked, made, secrets=secrets)
    response = JsonResponse(dict(answer.members), status=answer.status)
    response["Cache-Control"] = "no-store"
    if answer.replayed:
        response["Idempotency-Replayed"] = "true"
    return response
