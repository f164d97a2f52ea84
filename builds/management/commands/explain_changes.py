"""``manage.py explain_changes TAG``: say why a release that changed since its import may still be judged."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.services.projects import find_release
from builds.services.release_events import explain_changes


class Command(BaseCommand):
    help = "Judge what was first seen again, though it changed since; the reason is shown with the release for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tag")
        parser.add_argument("--project", help="needed when several projects have this tag")
        parser.add_argument("--reason", required=True, help="why the change is harmless; public")
        parser.add_argument("--by", required=True, help="who says so; public")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            release = find_release(options["tag"], options["project"])
            changes = explain_changes(release, options["reason"], options["by"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        for change in changes:
            self.stdout.write(f"explained: {change}")
