"""``manage.py set_aside REBUILD``: stop counting one result, for a public reason."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.models import Rebuild
from builds.services.operators import set_aside


class Command(BaseCommand):
    help = "Stop counting one result; the reason and your name are shown on its page for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("rebuild", type=uuid.UUID)
        parser.add_argument("--reason", required=True)
        parser.add_argument("--by", required=True)

    def handle(self, *_: object, **options: Any) -> None:
        rebuild = Rebuild.objects.select_related("release__project").filter(pk=options["rebuild"]).first()
        if rebuild is None:
            raise CommandError("no such rebuild")
        try:
            aside = set_aside(rebuild, reason=options["reason"], by=options["by"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        self.stdout.write(f"{rebuild.pk} of {rebuild.release} does not count any more: {aside.reason}")
