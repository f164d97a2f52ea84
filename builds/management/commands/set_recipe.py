"""``manage.py set_recipe FILE --author NAME``: keep a portal-maintained recipe for a project."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.domain.recipe import MAX_RECIPE_BYTES, MalformedRecipe
from builds.services.projects import find_project, keep_recipe


class Command(BaseCommand):
    help = "Keep a recipe for a project whose source tree has none; a recipe in the source tree wins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--author", required=True, help="who wrote it; shown with its digest on every release")
        parser.add_argument("--project", help="its name; needed when there is more than one project")
        parser.add_argument("--source", help="the source repository's address; registers a new project")

    def handle(self, *_: object, **options: Any) -> None:
        try:
            project = find_project(options["project"], options["source"])
            keep_recipe(project, _read(options["file"]), options["author"])
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        self.stdout.write(f"{project.name}: portal-maintained recipe sha256:{project.recipe_sha256}")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_RECIPE_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise MalformedRecipe(f"the recipe cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise MalformedRecipe("the recipe is not UTF-8", where=str(path)) from error
