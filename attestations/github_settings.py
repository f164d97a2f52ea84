"""How GitHub is reached, and how much of its answers is accepted."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from attestations.domain.github_errors import BadToken
from builds.domain.errors import MalformedInput

MIB = 1024 * 1024
GIB = 1024 * MIB
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubSettings:
    """Address, token and bounds; times in seconds. An empty token is none.

    Construction raises ``MalformedInput`` for an address that is neither https nor http on loopback, because the token
    would travel in clear, and ``BadToken`` for a token that cannot stand in a header.
    """

    base_url: str = "https://api.github.com"
    token: SecretStr | None = None
    api_version: str = "2022-11-28"
    timeout: float = 20.0
    """For a connection, and for each piece of an answer."""
    answer_timeout: float = 120.0
    """For a whole answer that is not a file, asked again included."""
    download_timeout: float = 3600.0
    """For a whole file, asked again included."""
    attempts: int = 3
    """How often something is asked in all while GitHub is unavailable."""
    retry_delay: float = 1.0
    """Before the second attempt; each further one waits twice as long."""
    longest_wait: float = 5.0
    """A rate limit that ends within this time is waited for."""
    max_response_bytes: int = 16 * MIB
    max_asset_bytes: int = 8 * GIB
    max_pages: int = 50

    def __post_init__(self) -> None:
        parts = _split(self.base_url)
        if parts.username is not None or parts.query or parts.fragment or not parts.hostname:
            raise MalformedInput("the address of GitHub's API is not a plain one", where="GitHub API address")
        if parts.scheme != "https" and not self.on_loopback:
            raise MalformedInput("the address of GitHub's API is not https", where="GitHub API address")
        if not _VERSION.fullmatch(self.api_version):
            raise MalformedInput(f"{self.api_version[:40]!r} is not a date", where="GitHub API version")
        if self.secret is not None and not _TOKEN.fullmatch(self.secret):
            raise BadToken("the configured token holds characters that no token has", where="GitHub token")

    @property
    def secret(self) -> str | None:
        """The token itself. Never log it."""
        return (self.token.get_secret_value() or None) if self.token is not None else None

    @property
    def on_loopback(self) -> bool:
        """Whether the base address is plain http on this machine, as the demo's is."""
        parts = _split(self.base_url)
        return parts.scheme == "http" and is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or an address of the loopback interface."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port  # read here because only reading it checks it
    except ValueError as error:
        raise MalformedInput("the address of GitHub's API cannot be read", where="GitHub API address") from error
    return parts
