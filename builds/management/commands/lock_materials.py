"""``manage.py lock_materials SOURCE_DIR``: resolve the recipe's packages to current versions and lock them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from builds.domain.errors import PortalError
from builds.domain.materials import MaterialsLock, render_lock
from builds.domain.recipe import MAX_RECIPE_BYTES, RECIPE_FILE, MalformedRecipe, Recipe, parse_recipe
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror


class Command(BaseCommand):
    help = "Resolve the material groups of SOURCE_DIR's tee-portal.toml, fetch them and write materials.lock."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source_dir", type=Path, metavar="SOURCE_DIR")
        parser.add_argument("--output", type=Path, metavar="FILE", help="by default where the recipe says")

    def handle(self, *, source_dir: Path, output: Path | None = None, **_: object) -> None:
        try:
            recipe = _read_recipe(source_dir / RECIPE_FILE)
            lock = self._lock(recipe)
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}") from error
        target = output or source_dir / recipe.materials.lock
        target.write_bytes(render_lock(lock))
        self._print_table(lock)
        self.stdout.write(f"wrote {target}")

    def _lock(self, recipe: Recipe) -> MaterialsLock:
        store, mirror = MaterialStore(settings.MATERIAL_STORE), Mirror(settings.DEBIAN_MIRROR)
        lock = lock_groups(recipe.materials.groups, store, mirror, settings.ARCHIVE_KEYRING, _never)
        store.ensure(lock.packages, mirror, _never, self._progress)
        return lock

    def _progress(self, done: int, total: int, what: str) -> None:
        self.stdout.write(f"[{done}/{total}] {what}")

    def _print_table(self, lock: MaterialsLock) -> None:
        for index in lock.indexes:
            self.stdout.write(
                f"index {index.suite} {index.component} of {index.release_date:%Y-%m-%d %H:%M} UTC,"
                f" InRelease sha256:{index.release_sha256}, signed by {', '.join(index.signed_by)}"
            )
        for package in sorted(lock.packages, key=lambda package: package.identity):
            self.stdout.write(
                f"{package.name:<32} {package.version:<28} {package.architecture:<6} {package.suite or '-':<8}"
                f" {package.size:>11} {package.sha256} {','.join(sorted(package.groups))}"
            )
        total = sum(package.size for package in lock.packages)
        self.stdout.write(f"{len(lock.packages)} packages, {total} bytes, all in {settings.MATERIAL_STORE}")


def _read_recipe(path: Path) -> Recipe:
    try:
        with path.open("rb") as file:
            return parse_recipe(file.read(MAX_RECIPE_BYTES + 1), where=str(path))
    except OSError as error:
        raise MalformedRecipe(f"the recipe cannot be read: {error.strerror}", where=str(path)) from error


def _never() -> None:
    """Nobody cancels a command but Ctrl-C."""
