"""Accounts and tokens as tests make them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from builds.domain.access import Scope
from builds.services.access import NewToken, create_token

PASSWORD = "correct horse battery staple"


def account_named(name: str, **more: Any) -> User:
    """An account, which has no password unless one is given; the same again by the same name."""
    found = User.objects.filter(username=name).first()
    return found or User.objects.create_user(name, **more)


def token_of(name: str, scopes: Collection[Scope] = (Scope.TRIGGER_REBUILD,), days: int = 30, **more: Any) -> NewToken:
    return create_token(account_named(name, **more), f"a token of {name}", scopes, days)


def post_json(path: str, body: object, secret: str | None = None, client: Client | None = None) -> Any:
    """The answer to a POST with a bearer token, or with the header given as it is when it holds a space."""
    headers = {}
    if secret is not None:
        headers["Authorization"] = secret if " " in secret else f"Bearer {secret}"
    asking = client or Client()
    return asking.post(path, json.dumps(body), content_type="application/json", headers=headers)
