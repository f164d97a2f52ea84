"""How API operations ask for a token: ``auth=ScopedToken(Scope...)``; the operation finds ``request.auth``."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest
from ninja.security.http import HttpAuthBase

from builds.domain.access import Scope
from builds.services.access import TokenUse, authenticate


class ScopedToken(HttpAuthBase):
    """A bearer token that may do what ``scope`` names. A session's cookie is not looked at, so no form can use one."""

    openapi_scheme = "bearer"

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope

    def __call__(self, request: HttpRequest) -> TokenUse:
        return authenticate(request.headers.get("Authorization"), self._scope)


def token_use(request: HttpRequest) -> TokenUse:
    """What ``ScopedToken`` found, in an operation that it stands before."""
    return cast("TokenUse", request.auth)  # type: ignore[attr-defined] # set by ninja
