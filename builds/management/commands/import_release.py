"""``manage.py import_release DIR``: import a published release directory."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.models import Project, Release
from builds.services.evidence import view_of
from builds.services.importing import import_release


class Command(BaseCommand):
    help = "Import a published release directory: hash its files, recompute its measurement, store its materials."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path)
        parser.add_argument("--project", help="its name; needed when there is more than one project")
        parser.add_argument("--source", help="the source repository's address; registers a new project")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            release = import_release(self._project(options["project"], options["source"]), options["directory"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        view = view_of(Release.objects.with_evidence().get(pk=release.pk))
        self.stdout.write(f"{release} imported, commit {release.commit}")
        for row in view.components:
            state = "contradicts its manifest" if row.published.contradicts_manifest else "hashes to its manifest"
            if row.problem is not None:
                state = f"{row.problem['code']}: {row.problem['what']}"
            self.stdout.write(f"  {row.role:<8} {row.file_name:<40} {state}")
        for notice in view.notices:
            self.stdout.write(f"  {notice.kind}: {notice.sentence}")

    def _project(self, name: str | None, source: str | None) -> Project:
        if source is not None:
            if name is None:
                raise CommandError("--source needs --project NAME")
            project, _ = Project.objects.get_or_create(name=name, defaults={"source_url": source})
            if project.source_url != source:
                raise CommandError(f"project {name} has another source: {project.source_url}")
            return project
        projects = Project.objects.filter(name=name) if name is not None else Project.objects.all()
        found = list(projects[:2])
        if len(found) != 1:
            raise CommandError("name the project with --project, and --source ADDRESS if it is new")
        return found[0]
