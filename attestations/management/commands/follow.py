"""``manage.py follow OWNER/NAME``: follow a GitHub repository and import its releases."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from attestations.domain.identity import WORKFLOW_FOLDER
from attestations.domain.repository import Repository
from attestations.models import ExpectedPublisher
from attestations.services import following
from builds.domain.errors import PortalError


class Command(BaseCommand):
    help = "Follow a GitHub repository: list its releases, import them, and ask for their attestations."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("repository", metavar="OWNER/NAME")
        parser.add_argument("--source", default="", help="where git finds the source; by default GitHub")
        parser.add_argument("--workflow", default="", help="the workflow expected to publish: .github/workflows/...")
        parser.add_argument("--later", action="store_true", help="leave the first synchronisation to the workers")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            repository = Repository.parse(options["repository"])
            followed = following.follow(repository, source_url=options["source"], workflow=options["workflow"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        self.stdout.write(f"following {repository} as project {followed.project}")
        if not ExpectedPublisher.objects.filter(project=followed.project).exclude(workflow="").exists():
            self.stdout.write(
                f"No workflow is expected yet, so attestations stay unchecked: `follow {repository} --workflow"
                f" {WORKFLOW_FOLDER}FILE` names it."
            )
        if options["later"]:
            return
        call_command("synchronise", str(repository), stdout=self.stdout)
