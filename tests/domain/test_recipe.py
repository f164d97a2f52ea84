import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.recipe import (
    CommandLineUnknown,
    MalformedRecipe,
    PublicationRecipe,
    Recipe,
    RecipeHasNoStages,
    parse_any_recipe,
    parse_recipe,
    render_command_line,
)
from builds.domain.roles import Role
from tests.support.sources import RECIPE


def changed(old: str, new: str) -> bytes:
    assert old in RECIPE
    return RECIPE.replace(old, new).encode()


def test_the_small_recipe_reads() -> None:
    recipe = parse_recipe(RECIPE.encode())
    assert recipe.components[Role.KERNEL].output == "kernel"
    assert recipe.asks_for_network == ()


def test_a_stage_that_asks_for_the_network_is_named() -> None:
    recipe = parse_recipe(changed('dockerfile = "Dockerfile"', 'dockerfile = "Dockerfile"\nnetwork = true'))
    assert recipe.asks_for_network == ("build",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("format = 1", 'format = "1"'),
        ("format = 1", "format = 1\nsurprise = true"),
        ("format = 1", "format = " + "9" * 5000),
        ("format = 1", "format ="),
        ('dockerfile = "Dockerfile"', 'dockerfile = "../Dockerfile"'),
        ('dockerfile = "Dockerfile"', 'dockerfile = "/etc/passwd"'),
        ('lock = "materials.lock"', 'lock = "a\\u0000b"'),
        ('kernel = "/output/kernel"', 'kernel = "output/kernel"'),
        ('kernel = "/output/kernel"', 'kernel = "/output/../../etc/passwd"'),
        ('kernel = "/output/kernel"', '"a/b" = "/output/kernel"'),
        ('kernel = { output = "kernel" }', 'kernel = { output = "other" }'),
        ('kernel = { output = "kernel" }', 'bootloader = { output = "kernel" }'),
        ('[base]\nmaterials = "base"', '[base]\nmaterials = "other"'),
        ('[base]\nmaterials = "base"', '[base]\nimage = "debian:13"'),
        ('[base]\nmaterials = "base"', "[base]"),
        ('name = "build"', 'name = "build"\ninputs = ["kernel"]'),
        ('name = "build"', 'name = "build"\nmaterials = ["other"]'),
        ('name = "build"', 'name = "build"\nbuild_args = { BASE_IMAGE = "evil" }'),
        ('name = "build"', 'name = "build"\nbuild_args = { SOURCE_DATE_EPOCH = "0" }'),
        ('name = "build"', 'name = "build"\nbuild_args = { "a b" = "c" }'),
    ],
)
def test_a_recipe_that_reaches_further_than_it_may_is_refused(old: str, new: str) -> None:
    with pytest.raises(MalformedRecipe):
        parse_recipe(changed(old, new))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedRecipe):
        parse_recipe(data)


PUBLICATION = """\
format = 1
kind = "publication-only"
name = "vm"

[[launch_configurations]]
name = "sealed"
boot_mode = "direct_kernel"
vcpus = 1
vcpu_type = "EPYC-v4"
command_line = "console=ttyS0 KATANA_EXPECTED_LUKS_UUID={LUKS_UUID}"
"""


def test_a_recipe_without_stages_must_say_so_and_never_reads_as_one_that_builds() -> None:
    recipe = parse_any_recipe(PUBLICATION.encode())
    assert isinstance(recipe, PublicationRecipe)
    with pytest.raises(RecipeHasNoStages, match="has no stages"):
        parse_recipe(PUBLICATION.encode())
    with pytest.raises(MalformedRecipe):
        parse_any_recipe(PUBLICATION.replace('kind = "publication-only"\n', "").encode())
    assert isinstance(parse_any_recipe(RECIPE.encode()), Recipe)
    assert isinstance(parse_any_recipe(b'kind = "build"\n' + RECIPE.encode()), Recipe)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "vm"', 'name = "vm"\nstages = []'),
        ('name = "vm"', 'name = "vm"\nbase = { materials = "base" }'),
        ('kind = "publication-only"', 'kind = "publication"'),
        ('kind = "publication-only"', 'kind = ["publication-only"]'),
        ('command_line = "', 'command_line_file = "cmdline.txt"\ncommand_line = "'),
        ("{LUKS_UUID}", "{luks_uuid}"),
        ("{LUKS_UUID}", "{}"),
        ("{LUKS_UUID}", "{LUKS_UUID"),
        ("{LUKS_UUID}", "LUKS_UUID}"),
        ("{LUKS_UUID}", "{LUKS_UUID!r}"),
        ("{LUKS_UUID}", "{{LUKS_UUID}}"),
        ("console=ttyS0", "console=ttyS0\\n"),
        ("console=ttyS0", "console=ttyS0\\u0000"),
        ("console=ttyS0", "ü"),
        ("console=ttyS0", "x" * 4096),
        ('command_line = "', 'command_line = 1 # "'),
    ],
)
def test_a_publication_recipe_that_says_more_or_less_than_it_may_is_refused(old: str, new: str) -> None:
    assert old in PUBLICATION
    with pytest.raises(MalformedRecipe):
        parse_any_recipe(PUBLICATION.replace(old, new).encode())


@given(st.from_regex(r"[!-z|~]{1,40}", fullmatch=True))
def test_a_placeholder_becomes_its_value_once_and_nothing_inside_a_value_is_replaced(value: str) -> None:
    values = {"LUKS_UUID": value, "OTHER": "other"}
    assert render_command_line("a={LUKS_UUID} b={OTHER}", values) == f"a={value} b=other"
    assert render_command_line("console=ttyS0", values) == "console=ttyS0"
    assert render_command_line("", {}) == ""


@pytest.mark.parametrize("value", [None, "", "x init=/bin/sh", "x\ty", "x\n", "\0", "{OTHER}", "ü", "\u00a0"])
def test_a_value_that_is_absent_or_more_than_one_word_is_refused_by_name(value: str | None) -> None:
    values = {"OTHER": "1"} if value is None else {"OTHER": "1", "LUKS_UUID": value}
    with pytest.raises(CommandLineUnknown, match="LUKS_UUID"):
        render_command_line("a={LUKS_UUID}", values)
