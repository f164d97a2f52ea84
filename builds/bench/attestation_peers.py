"""Other verifiers of the same bundle: `@sigstore/verify` from npm, and cosign from Debian."""

from __future__ import annotations

import shutil
from pathlib import Path

from builds.bench.debian_peers import PeerMissing, never, unpacked
from builds.pipeline.process import run
from tee_portal.env import BASE_DIR

SCRIPTS = BASE_DIR / "scripts" / "bench"
_COSIGN_SUITE = "forky"
_SECONDS = 300


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
            check=never,
            timeout=_SECONDS,
            cwd=folder,
            overrides={},
        )
        if done.exit_code != 0:
            raise PeerMissing(f"npm could not install it: {done.stderr.strip()[-200:]}", where="@sigstore/verify")
    return folder / "sigstore_js.cjs"


def cosign(work: Path) -> Path:
    """Debian's cosign, unpacked privately; ``PeerMissing`` when the archive does not give it."""
    program = unpacked(_COSIGN_SUITE, ["cosign"], work / "cosign") / "usr" / "bin" / "cosign"
    if not program.is_file():
        raise PeerMissing("its package holds no cosign", where="cosign")
    return program
