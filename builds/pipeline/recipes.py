"""Where a build's recipe, lock and command line come from: the source tree, or the portal where that has none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from builds.domain.errors import MalformedInput
from builds.domain.materials import MAX_LOCK_BYTES, MaterialsLock, parse_lock
from builds.domain.recipe import (
    MAX_COMMAND_LINE_BYTES,
    MAX_RECIPE_BYTES,
    RECIPE_FILE,
    LaunchConfigurationSpec,
    PublicationRecipe,
    Recipe,
    RecipeHasNoStages,
    RecipeOrigin,
    parse_any_recipe,
    render_command_line,
)
from builds.pipeline.source import SourceTree


@dataclass(frozen=True, slots=True)
class PortalRecipe:
    """A recipe that the portal keeps for a source tree that has none: its TOML, and who wrote it."""

    text: str
    author: str

    @property
    def label(self) -> str:
        """Its digest and author, as logs and a rebuild's environment name it."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()} by {self.author}"


@dataclass(frozen=True, slots=True)
class FoundRecipe:
    """The recipe that holds for a source tree; ``maintained`` is None when it lies in the tree itself."""

    recipe: Recipe | PublicationRecipe
    sha256: str
    maintained: PortalRecipe | None

    @property
    def origin(self) -> RecipeOrigin:
        return RecipeOrigin.SOURCE_TREE if self.maintained is None else RecipeOrigin.PORTAL


def find_recipe(tree: SourceTree, maintained: PortalRecipe | None) -> FoundRecipe:
    """The recipe at the top of a tree, which wins even when it is malformed; else the portal's.

    Raises ``MalformedRecipe``, or ``SourceFileUnusable`` when there is neither.
    """
    if maintained is None or tree.has(RECIPE_FILE):
        data = tree.read(RECIPE_FILE, MAX_RECIPE_BYTES)
        return FoundRecipe(parse_any_recipe(data), hashlib.sha256(data).hexdigest(), None)
    data = maintained.text.encode()
    recipe = parse_any_recipe(data, where=f"portal-maintained {RECIPE_FILE}")
    return FoundRecipe(recipe, hashlib.sha256(data).hexdigest(), maintained)


def find_lock(tree: SourceTree, found: FoundRecipe) -> MaterialsLock | None:
    """The lock that the recipe names; None for a portal-maintained recipe whose source tree has none.

    Raises ``MalformedLock`` and ``SourceFileUnusable``.
    """
    if isinstance(found.recipe, PublicationRecipe):
        return None
    if found.maintained is not None and not tree.has(found.recipe.materials.lock):
        return None
    return _read_lock(tree, found.recipe)


def read_recipe_and_lock(tree: SourceTree, maintained: PortalRecipe | None = None) -> tuple[Recipe, MaterialsLock]:
    """What a build needs: a recipe with stages, and its lock.

    Raises ``RecipeHasNoStages``, ``SourceFileUnusable`` without a lock, and the errors of both formats.
    """
    found = find_recipe(tree, maintained)
    if isinstance(found.recipe, PublicationRecipe):
        raise RecipeHasNoStages(
            f"the {found.origin} recipe {found.recipe.name} is publication-only and has no stages", where=RECIPE_FILE
        )
    return found.recipe, _read_lock(tree, found.recipe)


def _read_lock(tree: SourceTree, recipe: Recipe) -> MaterialsLock:
    path = recipe.materials.lock
    groups = {group.name for group in recipe.materials.groups}
    return parse_lock(tree.read(path, MAX_LOCK_BYTES), where=path, groups=groups)


def read_command_line(tree: SourceTree, spec: LaunchConfigurationSpec, values: Mapping[str, str] | None = None) -> str:
    """The kernel command line a launch configuration boots with, without its final newline.

    ``values`` are what a template's placeholders stand for. Raises ``CommandLineUnknown``,
    ``SourceFileUnusable``, and ``MalformedInput`` for a file that is not UTF-8.
    """
    if spec.command_line is not None:
        return render_command_line(spec.command_line, values or {})
    if spec.command_line_file is None:
        return ""
    data = tree.read(spec.command_line_file, MAX_COMMAND_LINE_BYTES)
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise MalformedInput("the command line is not UTF-8", where=spec.command_line_file) from error
