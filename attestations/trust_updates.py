"""Trust roots from their TUF repositories (TUF 1.0); the only importer of tuf, and run only when asked to.

Metadata is kept under a directory that the caller names, so that an old repository cannot be played back; nothing
under HOME is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from attestations.sigstore_verifier import MAX_TRUST_ROOT_BYTES
from builds.domain.errors import PortalError

PUBLIC_GOOD_TUF = "https://tuf-repo-cdn.sigstore.dev"
_TARGET = "trusted_root.json"


class TrustRootNotRefreshed(PortalError):
    """TUF could not confirm or renew a trust root; the one that is there stays in use."""

    code: ClassVar[str] = "trust-root-not-refreshed"
    default_todo: ClassVar[str] = "Check the network and the repository's address, then refresh again."


def fetch_trust_root(url: str, bootstrap: bytes, state: Path) -> bytes:
    """The repository's current trusted_root.json, verified from ``bootstrap`` (a TUF root.json) on.

    Raises ``TrustRootNotRefreshed``.
    """
    metadata, targets = state / "metadata", state / "targets"
    try:
        metadata.mkdir(parents=True, exist_ok=True)
        targets.mkdir(exist_ok=True)
        updater = Updater(
            metadata_dir=str(metadata),
            metadata_base_url=url.rstrip("/"),
            target_dir=str(targets),
            target_base_url=f"{url.rstrip('/')}/targets",
            config=UpdaterConfig(app_user_agent="tee-portal"),
            bootstrap=bootstrap,
        )
        updater.refresh()
        info = updater.get_targetinfo(_TARGET)
        if info is None:
            raise TrustRootNotRefreshed(f"the repository has no {_TARGET}", where=url)
        if info.length > MAX_TRUST_ROOT_BYTES:
            raise TrustRootNotRefreshed(f"{_TARGET} has {info.length} bytes", where=url)
        return Path(updater.download_target(info)).read_bytes()
    except (DownloadError, RepositoryError, ValueError, OSError) as error:
        # ValueError: an address or metadata that is none; OSError: the network, or the directory.
        raise TrustRootNotRefreshed(f"TUF refused or failed: {_told(error)}", where=url) from error


def _told(error: BaseException) -> str:
    """The first error of the chain that says something: tuf's own may be a bare name, and a wrong one."""
    message = str(error).strip()
    if not message and error.__cause__ is not None:
        return _told(error.__cause__)
    return message[:300] or type(error).__name__
