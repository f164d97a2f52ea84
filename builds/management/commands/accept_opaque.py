"""``manage.py accept_opaque SHA256``: let an input count that nobody rebuilt, for a public reason."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.services.accepting import accept_opaque
from builds.services.projects import find_project


class Command(BaseCommand):
    help = "Accept an opaque input by its digest; the reason and the date are part of the project's policy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sha256", metavar="SHA256")
        parser.add_argument("--project", help="needed when there is more than one project")
        parser.add_argument("--reason", required=True, help="why it may count; public")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            project = find_project(options["project"], None)
            accepted = accept_opaque(project, options["sha256"], options["reason"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        self.stdout.write(f"{project} accepts {accepted} from now on: {accepted.reason}")
