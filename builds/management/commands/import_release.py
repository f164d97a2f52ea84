"""``manage.py import_release DIR``: import a published release directory."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attestations.services.collecting import collect_from_directory
from attestations.services.standing import judged_view
from attestations.services.verification import verify_release
from builds.domain.errors import PortalError
from builds.models import Release
from builds.services.importing import import_release
from builds.services.projects import find_project
from builds.snapshot import one_snapshot


class Command(BaseCommand):
    help = "Import a published release directory: hash its files, recompute its measurement, store its materials."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path)
        parser.add_argument("--project", help="its name; needed when there is more than one project")
        parser.add_argument("--source", help="the source repository's address; registers a new project")
        parser.add_argument("--tag", help="the release's tag; needed when its documents do not name it")
        parser.add_argument("--commit", help="the tag's commit; by default what the documents or the source say")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            project = find_project(options["project"], options["source"])
            release = import_release(project, options["directory"], tag=options["tag"], commit=options["commit"])
            collect_from_directory(release, options["directory"])
            verify_release(release)
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        with one_snapshot():
            view, attested = judged_view(Release.objects.with_evidence().get(pk=release.pk))
        self.stdout.write(f"{release} imported, commit {release.commit}")
        for row in view.components:
            state = "contradicts its manifest" if row.published.contradicts_manifest else "hashes to its manifest"
            if row.published.claimed is None:
                state = f"not named by {release.document_name}"
            if row.problem is not None:
                state = f"{row.problem['code']}: {row.problem['what']}"
            self.stdout.write(f"  {row.role:<8} {row.file_name:<40} {state}")
        for entry in attested.components:
            self.stdout.write(f"  {entry.role:<8} attestation {entry.state}: {entry.sentence}")
        for notice in view.notices:
            self.stdout.write(f"  {notice.kind}: {notice.sentence}")
