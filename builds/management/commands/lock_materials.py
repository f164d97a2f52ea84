"""``manage.py lock_materials SOURCE``: resolve a recipe's material groups into its lock."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.domain.materials import render_lock
from builds.domain.recipe import RECIPE_FILE, parse_recipe
from builds.pipeline.debian_archive import lock_groups
from builds.services import workshop


class Command(BaseCommand):
    help = "Resolve the recipe's material groups to current versions, fetch them and write the lock."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", type=Path, help="a source tree with tee-portal.toml")

    def handle(self, *_: object, **options: Any) -> None:
        source: Path = options["source"]
        try:
            recipe = parse_recipe((source / RECIPE_FILE).read_bytes())
            store, mirror = workshop.store(), workshop.mirror()
            lock = lock_groups(recipe.materials.groups, store, mirror, settings.ARCHIVE_KEYRING, lambda: None)
            fetched = store.ensure(lock.packages, mirror, lambda: None)
        except FileNotFoundError as error:
            raise CommandError(f"{source} has no {RECIPE_FILE}") from error
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        target = source / recipe.materials.lock
        target.write_bytes(render_lock(lock))
        size = sum(package.size for package in lock.packages)
        self.stdout.write(f"{target}: {len(lock.packages)} packages, {size} bytes, {fetched} fetched now")
        for index in lock.indexes:
            self.stdout.write(f"  {index.suite}: InRelease sha256:{index.release_sha256} of {index.release_date}")
