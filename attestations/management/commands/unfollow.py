"""``manage.py unfollow OWNER/NAME``: stop asking about a repository."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attestations.domain.repository import Repository
from attestations.services import following
from builds.domain.errors import PortalError


class Command(BaseCommand):
    help = "Stop following a GitHub repository; imported releases stay, and are no longer watched."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("repository", metavar="OWNER/NAME")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            repository = Repository.parse(options["repository"])
            following.unfollow(repository)
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        self.stdout.write(f"{repository} is no longer followed; its imported releases stay and are not watched")
