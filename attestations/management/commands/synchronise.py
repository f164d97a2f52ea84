"""``manage.py synchronise OWNER/NAME``: look at a followed repository now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from attestations.domain.repository import Repository
from attestations.models import FollowedRelease, Following
from attestations.services import following
from builds.domain.errors import PortalError


class Command(BaseCommand):
    help = "Import new releases of a followed repository, watch the known ones, and ask for attestations."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("repository", metavar="OWNER/NAME")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            repository = Repository.parse(options["repository"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        followed = following.ask_soon(repository)
        if followed is None:
            raise CommandError(f"{repository} is not followed; see `manage.py follow`")
        if not following.take(followed, timezone.now()):
            raise CommandError(f"{repository} is being synchronised by a worker")
        problem = following.synchronise(followed)
        for row in FollowedRelease.objects.filter(following=followed):
            why = f": {row.problem['what']} ({row.problem['where']})" if row.problem is not None else ""
            self.stdout.write(f"  {row.tag}: {'imported' if row.release_id else 'listed, not imported'}{why}")
        if problem is not None:
            again = Following.objects.get(pk=followed).next_sync_at
            self.stdout.write(f"{repository} stays followed; the workers ask again {again:%Y-%m-%d %H:%M} UTC")
            raise CommandError(f"{problem.code}: {problem}") from problem
