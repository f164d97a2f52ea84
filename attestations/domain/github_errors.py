"""What can go wrong between the portal and GitHub; each has its own name, and none carries the token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from builds.domain.errors import MalformedInput, PortalError


class GitHubError(PortalError):
    """GitHub could not be asked, or did not answer with what was asked for."""

    code: ClassVar[str] = "github-error"
    default_todo: ClassVar[str] = "Ask again later."


class GitHubUnavailable(GitHubError):
    """No connection, no answer in time, or an answer of 5xx, also after asking again."""

    code: ClassVar[str] = "github-unavailable"
    default_todo: ClassVar[str] = "Check the network and GitHub's status, then ask again; nothing was learned."


class UnexpectedAnswer(GitHubError):
    """An answer that is not what GitHub documents: another shape, not JSON, contradicting itself."""

    code: ClassVar[str] = "github-unexpected-answer"
    default_todo: ClassVar[str] = "Check the configured address and API version; believe nothing of this answer."


class ForeignAddress(UnexpectedAnswer):
    """An answer that sends the portal to an address where it must not go."""

    code: ClassVar[str] = "github-foreign-address"
    default_todo: ClassVar[str] = "Check the configured address; treat the answer as hostile until explained."


class TagWithoutCommit(UnexpectedAnswer):
    """A tag that names something else than a commit, or one behind more tags than are followed."""

    code: ClassVar[str] = "github-tag-without-commit"
    default_todo: ClassVar[str] = "Ask the publisher what the tag is for: a release is built from a commit."


class AssetChanged(GitHubError):
    """Downloaded bytes that differ from the digest or size which the release names."""

    code: ClassVar[str] = "github-asset-changed"
    default_todo: ClassVar[str] = "List the release again: the asset may have been replaced. If it stays so, deny it."


class AssetNotUploaded(GitHubError):
    """An asset whose upload has not ended."""

    code: ClassVar[str] = "github-asset-not-uploaded"
    default_todo: ClassVar[str] = "List the release again when its publisher has finished."


class BadToken(GitHubError):
    """GitHub does not accept the configured token, or asks for one."""

    code: ClassVar[str] = "github-bad-token"
    default_todo: ClassVar[str] = "Set TEE_PORTAL_GITHUB_TOKEN to a valid token with read access, or unset it."


class Forbidden(GitHubError):
    """GitHub knows who asks and refuses."""

    code: ClassVar[str] = "github-forbidden"
    default_todo: ClassVar[str] = "Give the token read access to contents and attestations of this repository."


class NotFoundOnGitHub(GitHubError):
    """GitHub has no such thing, or does not show it to this token."""

    code: ClassVar[str] = "github-not-found"
    default_todo: ClassVar[str] = "Check the name; a private repository needs a token that may read it."


class NotProcessable(UnexpectedAnswer):
    """GitHub answers 422: it knows the question and finds its subject invalid."""

    code: ClassVar[str] = "github-not-processable"
    default_todo: ClassVar[str] = "Check the names and digests in the question."


class RateLimited(GitHubError):
    """GitHub answers no more before ``reset_at`` (UTC)."""

    code: ClassVar[str] = "github-rate-limited"
    default_todo: ClassVar[str] = "Ask again after that time; a token raises the limit."

    def __init__(self, what: str, *, where: str, reset_at: datetime) -> None:
        self.reset_at = reset_at.astimezone(UTC)
        super().__init__(f"{what} until {self.reset_at:%Y-%m-%d %H:%M:%S} UTC", where=where)


class BadWebhookSignature(PortalError):
    """A webhook delivery that the shared secret did not sign."""

    code: ClassVar[str] = "bad-webhook-signature"
    default_todo: ClassVar[str] = "Set the same secret in the repository's webhook and in the portal."


class MalformedDelivery(MalformedInput):
    """A signed webhook delivery that is not what GitHub documents."""

    code: ClassVar[str] = "malformed-webhook-delivery"
    default_todo: ClassVar[str] = "Check that the webhook sends application/json."
