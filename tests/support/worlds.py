"""A small project in a running portal: a repository, its release, and what is published of it."""

from __future__ import annotations

import hashlib

from builds.domain.materials import MaterialsLock
from tests.support.portal import Portal, publish
from tests.support.sources import DOCKERFILE, Repository, git, make_repository

KERNEL = b"a\nb\n"
"""What the small recipe makes of the small sources."""


def import_small(
    portal: Portal, lock: MaterialsLock, *, tag: str = "v1", dockerfile: str = DOCKERFILE, kernel: bytes = KERNEL
) -> None:
    """Import a release; a second one is another tag of the same commit."""
    source = portal.root / "source"
    if source.exists():
        assert (source / "Dockerfile").read_text() == dockerfile
        git(source, "tag", tag)
        repository = Repository(source, git(source, "rev-parse", "HEAD").strip())
    else:
        repository = make_repository(source, lock, tag, Dockerfile=dockerfile)
    directory = publish(portal.root / f"release-{tag}", repository, hashlib.sha256(kernel).hexdigest(), kernel, tag)
    portal.manage("import_release", str(directory), "--project", "small", "--source", repository.url)
