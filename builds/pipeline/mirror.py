"""The Debian archive's mirror, reached through apt's own downloader.

The address is the operator's: given, or the one this host's apt uses. apt brings proxies,
certificates and retries as the host is set up.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from builds.domain.errors import PortalError
from builds.domain.materials import LockedPackage
from builds.pipeline.process import run

APT_HELPER = "/usr/lib/apt/apt-helper"
_DOWNLOAD_SECONDS = 1800.0
_BATCH = 40
_GONE = re.compile(r"\b(404|410)\b")


class MaterialGone(PortalError):
    """A locked package that neither the store nor the mirror has."""

    code: ClassVar[str] = "material-gone"
    default_todo: ClassVar[str] = (
        "Find this exact file, check its digest and put it into the material store; a newer version is no substitute."
    )


class MirrorUnreachable(PortalError):
    """The archive's mirror does not answer."""

    code: ClassVar[str] = "mirror-unreachable"
    default_todo: ClassVar[str] = "Check the network, or name another mirror with TEE_PORTAL_DEBIAN_MIRROR, then retry."


class Mirror:
    """One mirror of a Debian archive; ``base`` None means the host's own."""

    def __init__(self, base: str | None) -> None:
        self._base = base.rstrip("/") if base is not None else None

    @property
    def base(self) -> str:
        """The address without a trailing slash; ``MirrorUnreachable`` when the host's apt names none."""
        if self._base is None:
            self._base = _host_mirror()
        return self._base

    def download(
        self, packages: Sequence[LockedPackage], directory: Path, check: Callable[[], None]
    ) -> Iterator[tuple[LockedPackage, Path]]:
        """Download packages and yield each with its file, already checked by apt against its sha256."""
        for start in range(0, len(packages), _BATCH):
            batch = packages[start : start + _BATCH]
            targets = [(package, directory / package.sha256) for package in batch]
            arguments: list[str] = []
            for package, target in targets:
                arguments += [f"{self.base}/{package.path}", str(target), f"SHA256:{package.sha256}"]
            finished = run(
                [APT_HELPER, "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "download-file", *arguments],
                check=check,
                timeout=_DOWNLOAD_SECONDS,
                overrides={"LC_ALL": "C.UTF-8"},
                cwd=directory,
            )
            for package, target in targets:
                if not target.is_file():
                    raise self._missing(package, finished.stdout + finished.stderr)
                yield package, target

    def _missing(self, package: LockedPackage, output: str) -> PortalError:
        lines = [line for line in output.splitlines() if package.path in line or line.startswith("E:")]
        detail = " ".join(lines)[:400]
        where = f"{package.label}, sha256:{package.sha256}"
        if _GONE.search(detail) or "Hash Sum mismatch" in output or "File not found" in output:
            return MaterialGone(
                f"{package.label} with its locked digest is gone from its archive and our store lacks it", where=where
            )
        return MirrorUnreachable(f"could not fetch {package.label}: {detail or 'no answer'}", where=self.base)


def _host_mirror() -> str:
    """The main archive of this host's own apt configuration."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    for line in listed.stdout.splitlines():
        origin, label, address = line.split("|", 2)
        if origin == "Debian" and label == "Debian":
            return address.rstrip("/")
    raise MirrorUnreachable("this host's apt knows no Debian archive", where="apt-get indextargets")
