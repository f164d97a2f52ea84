"""Which recipe holds for a source tree, and that one without stages never builds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builds.domain.errors import MalformedInput
from builds.domain.recipe import (
    CommandLineUnknown,
    LaunchConfigurationSpec,
    MalformedRecipe,
    PublicationRecipe,
    RecipeHasNoStages,
    RecipeOrigin,
)
from builds.pipeline.recipes import PortalRecipe, find_lock, find_recipe, read_command_line, read_recipe_and_lock
from builds.pipeline.source import SourceFileUnusable, SourceTree
from tests.domain.test_recipe import PUBLICATION
from tests.support.sources import RECIPE

KEPT = PortalRecipe(PUBLICATION, "Ada")


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    return SourceTree(tmp_path, "c" * 40, 1_700_000_000)


def spec(**changes: object) -> LaunchConfigurationSpec:
    fields = {"name": "x", "boot_mode": "direct_kernel", "vcpus": 1, "vcpu_type": "EPYC-v4", **changes}
    return LaunchConfigurationSpec.model_validate(fields)


def test_the_portals_recipe_holds_only_for_a_tree_that_has_none(tree: SourceTree) -> None:
    found = find_recipe(tree, KEPT)
    assert (found.origin, found.maintained) == (RecipeOrigin.PORTAL, KEPT)
    assert found.sha256 == hashlib.sha256(PUBLICATION.encode()).hexdigest()
    (tree.root / "tee-portal.toml").write_text(RECIPE)
    found = find_recipe(tree, KEPT)
    assert (found.origin, found.maintained, found.recipe.name) == (RecipeOrigin.SOURCE_TREE, None, "small")


@pytest.mark.parametrize("bad", ["", "format = 2", "{"])
def test_a_malformed_recipe_in_the_tree_is_never_replaced_by_the_portals(tree: SourceTree, bad: str) -> None:
    (tree.root / "tee-portal.toml").write_text(bad)
    with pytest.raises(MalformedRecipe):
        find_recipe(tree, KEPT)


def test_a_link_in_the_tree_is_no_absence(tree: SourceTree) -> None:
    (tree.root / "tee-portal.toml").symlink_to("nowhere")
    with pytest.raises(SourceFileUnusable):
        find_recipe(tree, KEPT)


def test_without_any_recipe_that_is_the_error(tree: SourceTree) -> None:
    with pytest.raises(SourceFileUnusable):
        find_recipe(tree, None)


@pytest.mark.parametrize("in_tree", [True, False])
def test_a_recipe_without_stages_builds_nothing_and_says_so(tree: SourceTree, *, in_tree: bool) -> None:
    if in_tree:
        (tree.root / "tee-portal.toml").write_text(PUBLICATION)
    found = find_recipe(tree, KEPT)
    assert isinstance(found.recipe, PublicationRecipe)
    assert find_lock(tree, found) is None
    with pytest.raises(RecipeHasNoStages, match="has no stages"):
        read_recipe_and_lock(tree, KEPT)


def test_a_portal_maintained_recipe_may_have_no_lock_and_then_builds_nothing(tree: SourceTree) -> None:
    kept = PortalRecipe(RECIPE, "Ada")
    assert find_lock(tree, find_recipe(tree, kept)) is None
    with pytest.raises(SourceFileUnusable):
        read_recipe_and_lock(tree, kept)
    (tree.root / "tee-portal.toml").write_text(RECIPE)
    with pytest.raises(SourceFileUnusable):
        find_lock(tree, find_recipe(tree, kept))


def test_a_command_line_comes_from_its_file_or_its_template(tree: SourceTree) -> None:
    (tree.root / "cmdline.txt").write_bytes(b"console=ttyS0\n")
    assert read_command_line(tree, spec(command_line_file="cmdline.txt")) == "console=ttyS0"
    template = spec(command_line="a={LUKS_UUID}")
    assert read_command_line(tree, template, {"LUKS_UUID": "1"}) == "a=1"
    with pytest.raises(CommandLineUnknown):
        read_command_line(tree, template)
    (tree.root / "cmdline.txt").write_bytes(b"\xff")
    with pytest.raises(MalformedInput, match="not UTF-8"):
        read_command_line(tree, spec(command_line_file="cmdline.txt"))
