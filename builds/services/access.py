"""Tokens of accounts: made once, looked up by their hash, and good for what they were made for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from builds.domain.access import LIFETIMES, MAX_LIVE_TOKENS, MINUTE, TOKEN_PREFIX, Scope, is_token
from builds.domain.errors import PortalError
from builds.models import ApiToken
from builds.services.rebuilding import new_token, token_sha256

_BEARER = "bearer "
_WHERE = "Authorization header"
_MAKE_ONE = "Sign in, and make a token on your account page."


class NotAuthenticated(PortalError):
    """Who asks is not known: answered with 401. Its subclasses say why."""

    code: ClassVar[str] = "token-missing"
    default_todo: ClassVar[str] = f"Send the header Authorization: Bearer {TOKEN_PREFIX}... . {_MAKE_ONE}"


class MalformedToken(NotAuthenticated):
    """What was sent has not the form of a token."""

    code: ClassVar[str] = "token-malformed"


class UnknownToken(NotAuthenticated):
    """No account has this token."""

    code: ClassVar[str] = "token-unknown"
    default_todo: ClassVar[str] = _MAKE_ONE


class ExpiredToken(NotAuthenticated):
    """The token was good until a moment that has passed."""

    code: ClassVar[str] = "token-expired"
    default_todo: ClassVar[str] = _MAKE_ONE


class RevokedToken(NotAuthenticated):
    """The token was revoked on its account's page."""

    code: ClassVar[str] = "token-revoked"
    default_todo: ClassVar[str] = _MAKE_ONE


class AccountDisabled(NotAuthenticated):
    """The token's account may not sign in any more."""

    code: ClassVar[str] = "account-disabled"
    default_todo: ClassVar[str] = "Ask the portal's administrator."


class ScopeMissing(PortalError):
    """The token is good, and not for this."""

    code: ClassVar[str] = "scope-missing"
    default_todo: ClassVar[str] = "Make a token with that scope on your account page."


class TokensFull(PortalError):
    """The account has as many live tokens as it may have."""

    code: ClassVar[str] = "tokens-full"
    default_todo: ClassVar[str] = "Revoke one that is not needed any more."


@dataclass(frozen=True, slots=True)
class TokenUse:
    """A token that was shown and is good for what is asked, and the account that it acts for."""

    token: ApiToken
    account: User


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. ``secret`` is here and nowhere else: it is shown once."""

    token: ApiToken
    secret: str


@sensitive_variables()
def authenticate(header: str | None, scope: Scope) -> TokenUse:
    """Whose token an ``Authorization`` header holds, if it may do what ``scope`` names.

    Raises ``NotAuthenticated`` or the subclass that says why, and ``ScopeMissing``. No message holds what was sent.
    The secret is looked up by its SHA-256: how long that takes says nothing about any secret.
    """
    if not header:
        raise NotAuthenticated("no token was sent", where=_WHERE)
    secret = header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else ""
    if not is_token(secret):
        raise MalformedToken("what was sent is no token of this portal", where=_WHERE)
    now = timezone.now()
    token = ApiToken.objects.select_related("account").filter(sha256=token_sha256(secret)).first()
    if token is None:
        raise UnknownToken("no account has this token", where=_WHERE)
    _require_live(token, now)
    if scope not in token.scopes:
        may = ", ".join(token.scopes)
        raise ScopeMissing(f"the token may {may}, and not {scope.value}", where=_WHERE)
    _note_use(token, now)
    return TokenUse(token, token.account)


def _require_live(token: ApiToken, now: datetime) -> None:
    if token.revoked_at is not None:
        raise RevokedToken(f"the token was revoked at {token.revoked_at:%Y-%m-%d %H:%M} UTC", where=_WHERE)
    if token.expires_at <= now:
        raise ExpiredToken(f"the token was good until {token.expires_at:%Y-%m-%d %H:%M} UTC", where=_WHERE)
    if not token.account.is_active:
        raise AccountDisabled("the token's account may not sign in any more", where=_WHERE)


def _note_use(token: ApiToken, now: datetime) -> None:
    """Not written more than once a minute: a script that asks often costs no write each time."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - MINUTE)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def create_token(account: User, name: str, scopes: Collection[Scope], days: int) -> NewToken:
    """Make a token that lives for ``days``, one of ``LIFETIMES``; ``TokensFull`` when the account has enough."""
    if days not in LIFETIMES or not scopes:
        raise ValueError("a token has scopes and one of the known lifetimes")
    secret, now = TOKEN_PREFIX + new_token(), timezone.now()
    with transaction.atomic():
        lock_account(account)
        if live_tokens(account, now).count() >= MAX_LIVE_TOKENS:
            raise TokensFull(f"the account has {MAX_LIVE_TOKENS} live tokens already", where="your account")
        token = ApiToken.objects.create(
            account=account,
            name=name,
            scopes=sorted(scope.value for scope in scopes),
            sha256=token_sha256(secret),
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
    return NewToken(token, secret)


def revoke_token(token: ApiToken) -> None:
    """End a token for good; one that was revoked before keeps its first moment."""
    ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())


def live_tokens(account: User, now: datetime) -> QuerySet[ApiToken]:
    """Tokens that are good at ``now``."""
    return ApiToken.objects.filter(account=account, revoked_at__isnull=True, expires_at__gt=now)


def lock_account(account: User) -> None:
    """Let what depends on a count of the account's rows be asked by one at a time, until the transaction ends."""
    User.objects.select_for_update(no_key=True).get(pk=account.pk)
