"""Programs of Debian to compare with: fetched as every material is, unpacked privately and never installed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from builds.domain.errors import PortalError
from builds.domain.recipe import MaterialGroup
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.process import run
from builds.services import workshop

_SECONDS = 300
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


class PeerMissing(PortalError):
    """A program to compare with cannot be had on this machine, or does not do its work."""

    code = "peer-missing"
    default_todo = "The other figures hold without it."


def unpacked(suite: str, packages: Sequence[str], folder: Path) -> Path:
    """``folder`` with exactly these packages of ``suite`` in it, without what they depend on.

    Kept once it is there. ``PeerMissing`` when the archive does not give them.
    """
    if folder.is_dir():
        return folder
    group = MaterialGroup(name=folder.name, suite=suite, packages=list(packages))
    store, mirror = workshop.store(), workshop.mirror()
    try:
        lock = lock_groups([group], store, mirror, settings.ARCHIVE_KEYRING, never)
        store.ensure(lock.packages, mirror, never)
        archives = [store.verified(package.digest) for package in lock.packages]
    except PortalError as error:
        raise PeerMissing(f"the archive gave no {folder.name}: {error.what}", where=folder.name) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work) / "root"
        for archive in archives:
            done = run(["dpkg-deb", "-x", str(archive), str(made)], check=never, timeout=_SECONDS, overrides={})
            if done.exit_code != 0:
                raise PeerMissing(f"a package does not unpack: {done.stderr.strip()[:200]}", where=folder.name)
        # Whole or not at all: what is there is not looked at again.
        made.rename(folder)
    return folder


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs below ``root``, started by the dynamic loader and the libraries that lie there too."""

    root: Path

    def command(self, program: str, *arguments: str) -> list[str]:
        """``program`` is the path of its file below ``root``, as ``usr/bin/wrk``."""
        loader = [str(self.root / _LOADER), "--library-path", str(self.root / _LIBRARIES)]
        return [*loader, str(self.root / program), *arguments]


def never() -> None:
    """A benchmark runs to its end."""
