"""Inputs of a release that nobody rebuilt: seen in rebuilds, or lying in what was published."""

from __future__ import annotations

from collections.abc import Iterable

from builds.domain.digest import Digest
from builds.domain.evidence import OpaqueInput
from builds.domain.origins import OriginKind
from builds.models import Rebuild, Release


def opaque_inputs_of(rebuild: Rebuild) -> tuple[OpaqueInput, ...]:
    """What a rebuild took as is from inputs that no signed index and no readable source vouches for."""
    components = [
        OpaqueInput(row.role, Digest.sha256(row.sha256), row.origin)
        for row in rebuild.components.all()
        if row.origin_kind == OriginKind.OPAQUE
    ]
    files = [
        OpaqueInput(f"{row.role}: {row.path}", Digest.sha256(row.sha256), row.origin)
        for row in rebuild.files.all()
        if row.origin_kind == OriginKind.OPAQUE
    ]
    return (*components, *files)


def untraced_files(release: Release, counting: Iterable[Rebuild]) -> tuple[OpaqueInput, ...]:
    """Files embedded in the publication, but for those whose bytes every counting rebuild traced to their origin.

    No rebuild is needed to know them, so that a release nobody has rebuilt names them already.
    """
    # Every one of them: what a single operator says of origins must not be enough.
    traced_by_each = [_traced(rebuild) for rebuild in counting]
    traced = set.intersection(*traced_by_each) if traced_by_each else set()
    return tuple(
        OpaqueInput(
            f"{file.container}: {file.path}",
            Digest.sha256(file.sha256),
            f"{'a program' if file.is_elf else 'a file that is no text'} inside the published tarball,"
            " whose bytes no rebuild has made",
        )
        for file in release.embedded_files.all()
        if file.sha256 not in traced
    )


def _traced(rebuild: Rebuild) -> set[str]:
    components = {row.sha256 for row in rebuild.components.all() if row.origin_kind != OriginKind.OPAQUE}
    return components | {row.sha256 for row in rebuild.files.all() if row.origin_kind != OriginKind.OPAQUE}


def pulled_base(release: Release) -> tuple[OpaqueInput, ...]:
    """A base image pulled from a registry: its files are unknown, so anything may be copied from it.

    From the recipe as it was read here, because who leaves it out of a statement would make it vanish.
    """
    if not release.base_image:
        return ()
    digest = Digest.parse(release.base_image.rpartition("@")[2])
    reason = f"{release.base_image}, pulled by its digest; nobody rebuilt what it holds"
    return (OpaqueInput("base image", digest, reason),)
