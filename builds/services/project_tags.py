"""A project with the tags that its pages offer to choose from."""

from __future__ import annotations

from dataclasses import dataclass

from builds.models import Project
from builds.services.absent import PROJECT, the_one

SHOWN_TAGS = 200
"""The newest ones; any other can be typed."""


@dataclass(frozen=True, slots=True)
class ProjectTags:
    """``tags`` are of the newest releases, the newest first."""

    project: Project
    tags: tuple[str, ...]


def project_with_tags(name: str) -> ProjectTags:
    """404 when there is no such project."""
    project = the_one(Project.objects.filter(name=name), PROJECT, name)
    return ProjectTags(project, tuple(project.releases.in_order().values_list("tag", flat=True)[:SHOWN_TAGS]))
