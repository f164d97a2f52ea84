"""Finds and registers projects, and finds their releases, for commands."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError

from builds.domain.errors import MalformedInput, PortalError
from builds.models import Project, Release


class ProjectNotNamed(PortalError):
    """Which project is meant does not follow from what was given."""

    code: ClassVar[str] = "project-not-named"
    default_todo: ClassVar[str] = "Name the project with --project, and --source ADDRESS if it is new."


class ReleaseNotNamed(PortalError):
    """Which release is meant does not follow from what was given."""

    code: ClassVar[str] = "release-not-named"
    default_todo: ClassVar[str] = "Give the tag of an imported release, and --project where several projects have it."


class UnusableRecipe(MalformedInput):
    """A portal-maintained recipe that cannot be kept."""

    code: ClassVar[str] = "unusable-recipe"
    default_todo: ClassVar[str] = "Correct the recipe and say who wrote it; nothing was changed."


def find_project(name: str | None, source: str | None) -> Project:
    """The named project, the only one there is, or a new one with its source; ``ProjectNotNamed`` otherwise."""
    if source is not None:
        if name is None:
            raise ProjectNotNamed("--source needs --project NAME", where="project")
        project, _ = Project.objects.get_or_create(name=name, defaults={"source_url": source})
        if project.source_url != source:
            raise ProjectNotNamed(f"project {name} has another source: {project.source_url}", where="project")
        return project
    projects = Project.objects.filter(name=name) if name is not None else Project.objects.all()
    found = list(projects[:2])
    if len(found) != 1:
        raise ProjectNotNamed("no project, or more than one, fits", where="project")
    return found[0]


def find_release(tag: str, project: str | None) -> Release:
    """The one release of this tag, in the named project or in any; ``ReleaseNotNamed`` otherwise."""
    releases = Release.objects.filter(tag=tag)
    if project:
        releases = releases.filter(project__name=project)
    found = list(releases[:2])
    if len(found) != 1:
        raise ReleaseNotNamed("several projects have this tag" if found else "no such release", where=tag or "tag")
    return found[0]


def keep_recipe(project: Project, text: str, author: str) -> None:
    """Keep a portal-maintained recipe for a project; ``UnusableRecipe`` when it cannot be read or has no author."""
    project.recipe, project.recipe_author = text, author
    try:
        project.full_clean()
    except ValidationError as error:
        raise UnusableRecipe(" ".join(error.messages), where=f"recipe of {project.name}") from error
    project.save(update_fields=["recipe", "recipe_author"])
