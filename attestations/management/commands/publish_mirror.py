"""``manage.py publish_mirror DIR``: write what any web server can serve in the portal's place."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from attestations.mirror_tree import MirrorNotWritable
from attestations.services.mirroring import publish
from builds.domain.errors import PortalError


class Command(BaseCommand):
    help = "Bring a mirror up to date, and sign its checkpoint; docs/mirror.md says how to serve and to read it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", metavar="DIR")
        parser.add_argument("--full", action="store_true", help="make and write every file again from the database")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            done = publish(_directory(options["directory"]), anew=options["full"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        checkpoint = done.checkpoint
        self.stdout.write(
            f"checkpoint {checkpoint.sequence}, to be relied on until {checkpoint.expires_at:%Y-%m-%d %H:%M} UTC: "
            f"{done.releases} releases, {done.measurements} measurements; "
            f"{done.written} objects written, {done.removed} removed"
        )


def _directory(named: str) -> Path:
    if not named:
        what = "no directory is named, as with a variable that is not set"
        raise MirrorNotWritable(
            what, where="DIR", todo="Name the mirror's directory; the current one is named by a dot."
        )
    return Path(named).absolute()
