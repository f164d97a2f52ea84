"""Other verifiers of the same bundle: `@sigstore/verify` from npm, and cosign from Debian."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from builds.domain.errors import PortalError
from builds.domain.recipe import MaterialGroup
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.process import run
from builds.services import workshop
from tee_portal.env import BASE_DIR

SCRIPTS = BASE_DIR / "scripts" / "bench"
_COSIGN_SUITE = "forky"
_SECONDS = 300


class PeerMissing(PortalError):
    """A verifier to compare with cannot be had on this machine."""

    code = "peer-missing"
    default_todo = "The other figures hold without it."


def sigstore_js(work: Path) -> Path:
    """The script of `@sigstore/verify` with its locked packages beside it; ``PeerMissing`` without node or npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise PeerMissing("node and npm are not installed", where="@sigstore/verify")
    folder = work / "npm"
    if not (folder / "node_modules").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", "sigstore_js.cjs"):
            shutil.copy(SCRIPTS / name, folder / name)
        done = run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            check=_never,
            timeout=_SECONDS,
            cwd=folder,
            overrides={},
        )
        if done.exit_code != 0:
            raise PeerMissing(f"npm could not install it: {done.stderr.strip()[-200:]}", where="@sigstore/verify")
    return folder / "sigstore_js.cjs"


def cosign(work: Path) -> Path:
    """Debian's cosign, unpacked privately; ``PeerMissing`` when the archive does not give it."""
    program = work / "cosign" / "usr" / "bin" / "cosign"
    if program.is_file():
        return program
    group = MaterialGroup(name="cosign", suite=_COSIGN_SUITE, packages=["cosign"])
    store, mirror = workshop.store(), workshop.mirror()
    try:
        lock = lock_groups([group], store, mirror, settings.ARCHIVE_KEYRING, _never)
        store.ensure(lock.packages, mirror, _never)
        package = store.verified(lock.packages[0].digest)
    except PortalError as error:
        raise PeerMissing(f"the archive gave no cosign: {error.what}", where="cosign") from error
    work.mkdir(parents=True, exist_ok=True)
    done = run(["dpkg-deb", "-x", str(package), str(work / "cosign")], check=_never, timeout=_SECONDS, overrides={})
    if done.exit_code != 0 or not program.is_file():
        raise PeerMissing(f"its package holds no cosign: {done.stderr.strip()[:200]}", where="cosign")
    return program


def _never() -> None:
    """A benchmark runs to its end."""
