"""A page of one's own: the account's tokens and what it asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from builds.domain.access import MAX_LIVE_TOKENS, Scope
from builds.models import ApiToken, RebuildRequest
from builds.services.access import live_tokens
from builds.services.requesting import Budget, budget_of

REQUESTS_A_PAGE = 25
SHOWN_ENDED_TOKENS = 10


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as its account sees it."""

    token: ApiToken
    state: str
    """``live``, ``expired`` or ``revoked``."""
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class AccountPage:
    """``older`` is the cursor of the next page of requests, or None."""

    account: User
    live: tuple[TokenRow, ...]
    ended: tuple[TokenRow, ...]
    """The newest that expired or were revoked."""
    most_tokens: int
    requests: tuple[RebuildRequest, ...]
    older: int | None
    is_first: bool
    budget: Budget


def account_page(account: User, *, before: int | None = None) -> AccountPage:
    """Tokens, and the requests made before the one numbered ``before``, newest first; constant queries."""
    now = timezone.now()
    over = ApiToken.objects.filter(Q(revoked_at__isnull=False) | Q(expires_at__lte=now), account=account)
    found = RebuildRequest.objects.filter(account=account).select_related("rebuild__release__project", "token")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = tuple(found[: REQUESTS_A_PAGE + 1])
    return AccountPage(
        account=account,
        live=tuple(token_row(token, now) for token in live_tokens(account, now)),
        ended=tuple(token_row(token, now) for token in over[:SHOWN_ENDED_TOKENS]),
        most_tokens=MAX_LIVE_TOKENS,
        requests=rows[:REQUESTS_A_PAGE],
        older=rows[REQUESTS_A_PAGE - 1].pk if len(rows) > REQUESTS_A_PAGE else None,
        is_first=before is None,
        budget=budget_of(account),
    )


def token_row(token: ApiToken, now: datetime) -> TokenRow:
    state = "live" if token.expires_at > now else "expired"
    if token.revoked_at is not None:
        state = "revoked"
    return TokenRow(token, state, tuple(Scope(scope) for scope in token.scopes))
