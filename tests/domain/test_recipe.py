import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.recipe import MalformedRecipe, parse_recipe
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
