"""The environment variables this portal reads, typed; nothing else reads ``os.environ``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
GIB = 1024 * MIB


class Environment(BaseSettings):
    """Every variable is optional: the defaults are the embedded portal (SQLite, files under ``var/``).

    One that is empty is not set, as compose files leave it.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="TEE_PORTAL_", env_ignore_empty=True)

    database_url: str | None = Field(default=None, validation_alias="DATABASE_URL")
    redis_url: str | None = Field(default=None, validation_alias="REDIS_URL")
    docker_host: str = Field(default="unix:///var/run/docker.sock", validation_alias="DOCKER_HOST")

    bench_postgres_url: str | None = Field(default=None, validation_alias="TEST_POSTGRES_URL")
    """An empty PostgreSQL database for ``make bench``."""

    data_dir: Path = BASE_DIR / "var"
    """Database, work directories and the generated secret key."""
    material_store: Path | None = None
    """Where materials are kept; by default ``materials`` in the data directory."""
    notice: str = Field(default="", max_length=400)
    """What stands at the head of every page, as that a portal is a test."""
    secret_key: SecretStr | None = None
    allowed_hosts: str = "127.0.0.1,localhost,[::1]"
    debug: bool = False
    secure_cookies: bool | None = None
    """Whether cookies are sent over https only; by default when ``public_url`` is https."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies in front add to ``X-Forwarded-For``; sign-ins and requests to the API are counted by what the
    first of them saw.
    """
    rebuilds_per_hour: int = Field(default=6, ge=1)
    """How many rebuilds one account may ask for within an hour."""
    reads_per_minute: int = Field(default=600, ge=1)
    """Of the API, by one token or address; without ``REDIS_URL`` each process of the server counts by itself."""
    writes_per_minute: int = Field(default=60, ge=1)
    agent_requests_per_minute: int = Field(default=1200, ge=1)
    """All rebuilders behind one address together; each at work asks about once a second."""

    debian_mirror: str | None = None
    """Base address of a Debian archive; by default the one this host's apt uses."""
    archive_keyring: Path = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

    github_api_url: str = "https://api.github.com"
    """Base address of GitHub's REST API; https, or http on loopback."""
    github_token: SecretStr | None = None
    """A token that may read contents and attestations; without one GitHub answers 60 questions an hour."""
    github_api_version: str = "2022-11-28"
    """What is sent as ``X-GitHub-Api-Version``."""

    github_webhook_secret: SecretStr | None = None
    """What GitHub signs its webhooks with; without one every delivery is refused."""
    sync_seconds: int = Field(default=600, ge=10)
    """How often a followed repository is asked for news."""
    watch_stale_seconds: int = Field(default=86400, ge=60)
    """A followed release that nobody could look at for longer is denied until somebody can."""

    signing_key: str | None = None
    """What verdicts are signed with: a file, or a key's address (``hsm:2?label=portal``, ``awskms:ID``, ...).

    By default ``keys/portal.pem`` in the data directory, made on first use.
    """
    signing_public_key: Path | None = None
    """A PEM file; needed where ``signing_key`` is an address."""
    signing_pin: SecretStr | None = None
    """The PIN of a hardware module; ``PYKCS11LIB`` names its PKCS #11 library."""

    mirror_dir: Path | None = None
    """Where the mirror is published to, for a web server or an object store; without it, none is."""
    mirror_seconds: int = Field(default=300, ge=10)
    """How often it is published, with a new checkpoint also where nothing changed."""
    mirror_holds_seconds: int = Field(default=21600, ge=60)
    """How long a checkpoint may be relied on: so long a mirror answers for a portal that is down, and so long whoever
    serves it may keep back a verdict that was withdrawn."""

    webhook_insecure_hosts: str = ""
    """``host:port``, comma-separated, that may be reached without TLS and on a private network; for tests. By webhooks,
    and for assets where they are among a project's asset hosts too.
    """

    local_rebuilds: bool = True
    """Whether the portal's own worker takes places that are open to anybody."""
    recheck_days: int = Field(default=90, ge=0)
    """A release whose newest rebuild is older is rebuilt again; 0 asks for no such rebuild."""
    public_url: str | None = None
    """The address under which the public knows this portal; signed requests and signed verdicts name it."""
    claim_retry_seconds: int = Field(default=2, ge=1)
    """When a rebuilder that got no work should ask again."""
    lease_seconds: int = Field(default=60, ge=3, le=3600)
    """Agents refuse claims of a longer one (``builds.domain.job``)."""
    max_claim_seconds: int = Field(default=86_400, ge=10)
    """How long one claim is renewed, and how long a release waits for an operator that has begun and not answered."""
    sweep_seconds: int = Field(default=15, ge=1)
    stage_timeout_seconds: int = Field(default=3600, ge=1)
    build_memory_bytes: int = Field(default=6 * GIB, ge=64 * MIB)
    build_cpus: str = ""
    """CPUs a build may use, as ``0-3`` or ``0,1``; empty means all."""
    max_log_bytes: int = Field(default=16 * MIB, ge=1024)
    """Of a stage while it is built, and of a whole rebuild as it is kept here."""
    max_build_disk_bytes: int = Field(default=12 * GIB, ge=MIB)
    min_free_disk_bytes: int = Field(default=2 * GIB, ge=0)
    max_output_bytes: int = Field(default=4 * GIB, ge=1024)
    max_asset_bytes: int = Field(default=8 * GIB, ge=1024)
    max_release_bytes: int = Field(default=24 * GIB, ge=1024)
    """All files of one release together, followed or announced."""
    publication_seconds: int = Field(default=3600, ge=1)
    """How long fetching all assets of one announced release may take."""

    @property
    def are_cookies_secure(self) -> bool:
        """Whether browsers are told to send cookies over https only."""
        if self.secure_cookies is not None:
            return self.secure_cookies
        return self.public_url is not None and self.public_url.startswith("https://")

    @field_validator("data_dir", "material_store", "mirror_dir", "signing_public_key")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.absolute() if path is not None else None

    @field_validator("public_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("an address like https://portal.example.org is wanted")
        return url.rstrip("/")


def read_environment() -> Environment:
    """Read the process environment once; pydantic's ``ValidationError`` names a bad variable."""
    return Environment()
