"""What a project's source says about one release: recipe, lock, command lines and the commit's time."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from builds.domain.build_info import BuildInfo, parse_build_info
from builds.domain.errors import PortalError
from builds.domain.manifest import MANIFEST_FILE
from builds.domain.materials import MaterialsLock
from builds.models import Project, Release
from builds.pipeline.recipes import FoundRecipe, PortalRecipe, find_lock, find_recipe, read_command_line
from builds.pipeline.source import GitSource, SourceTree


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the source at a release's commit says; ``commit_time`` in seconds.

    ``lock`` is None when the recipe needs or has none, ``lock_problem`` when it is there and unusable.
    ``command_lines`` are those that lie in files of the tree, by launch configuration, or why one cannot
    be read.
    """

    found: FoundRecipe
    lock: MaterialsLock | None
    lock_problem: PortalError | None
    commit_time: int
    command_lines: Mapping[str, str | PortalError]


def source_facts(project: Project, commit: str, tag: str) -> tuple[SourceFacts | None, PortalError | None]:
    """The facts at the commit, or the named error that kept them away."""
    with _work_directory() as directory:
        try:
            tree = GitSource(project.source_url, unstoppable).checkout(commit, Path(directory, "source"), tag=tag)
            found = find_recipe(tree, portal_recipe(project))
        except PortalError as error:
            return None, error
        lock, lock_problem = _lock(tree, found)
        return SourceFacts(found, lock, lock_problem, tree.commit_time, _command_lines(tree, found)), None


def commit_of_tag(project: Project, tag: str) -> str:
    """The commit that a tag of the project's source names; raises ``SourceUnreachable`` or ``TagMismatch``."""
    with _work_directory() as directory:
        return GitSource(project.source_url, unstoppable).commit_of_tag(tag, Path(directory))


def portal_recipe(project: Project) -> PortalRecipe | None:
    """The recipe that the portal keeps for a project, as it is now."""
    return PortalRecipe(project.recipe, project.recipe_author) if project.recipe else None


def build_info_of(release: Release) -> BuildInfo | None:
    """A stored release's build-info; None for a release with a manifest."""
    if release.document_name == MANIFEST_FILE:
        return None
    return parse_build_info(bytes(release.manifest), where=release.document_name)


def unstoppable() -> None:
    """An import runs to its end."""


def _work_directory() -> tempfile.TemporaryDirectory[str]:
    settings.WORK_DIR.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=settings.WORK_DIR, prefix="import-")


def _lock(tree: SourceTree, found: FoundRecipe) -> tuple[MaterialsLock | None, PortalError | None]:
    try:
        return find_lock(tree, found), None
    except PortalError as error:
        return None, error


def _command_lines(tree: SourceTree, found: FoundRecipe) -> dict[str, str | PortalError]:
    lines: dict[str, str | PortalError] = {}
    for spec in found.recipe.launch_configurations:
        if spec.command_line_file is None:
            continue
        try:
            lines[spec.name] = read_command_line(tree, spec)
        except PortalError as error:
            lines[spec.name] = error
    return lines
