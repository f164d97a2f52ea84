"""The GitHub client as this portal's settings configure it, with answers kept in the database."""

from __future__ import annotations

import hashlib

from django.conf import settings

from attestations.github import GitHub, GitHubSettings
from attestations.models import StoredAnswer


class DatabaseETags:
    """An ``ETagStore`` in the database, so that every worker profits. One per token: keys are addresses."""

    def get(self, url: str) -> tuple[str, bytes] | None:
        stored = StoredAnswer.objects.filter(url_sha256=_key(url)).first()
        return (stored.etag, bytes(stored.body)) if stored is not None else None

    def put(self, url: str, etag: str, body: bytes) -> None:
        StoredAnswer.objects.update_or_create(url_sha256=_key(url), defaults={"etag": etag[:300], "body": body})


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def open_github() -> GitHub:
    """A client for one piece of work; use it as a context manager."""
    environment = settings.ENVIRONMENT
    return GitHub(
        GitHubSettings(
            base_url=environment.github_api_url,
            token=environment.github_token,
            api_version=environment.github_api_version,
            max_asset_bytes=environment.max_asset_bytes,
        ),
        DatabaseETags(),
    )
