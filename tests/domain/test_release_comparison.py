"""Two releases beside each other: what is the same, what is not, and what nobody can say."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.conditions import Condition, ConditionState
from builds.domain.digest import Digest, FileDigests
from builds.domain.likeness import Likeness, forge_comparison, likeness, listed
from builds.domain.release_comparison import (
    ComponentFacts,
    MaterialFacts,
    ReleaseComparison,
    ReleaseFacts,
    compare_materials,
    compare_releases,
)
from builds.domain.roles import Role
from builds.domain.sealing import LaunchFacts, Sealing, consequence
from builds.domain.verdict import Decision
from tests.domain.test_rebuild_comparison import mirrored

FULL = frozenset({"ovmf", "kernel", "initrd", "cmdline"})
FIRMWARE = frozenset({"ovmf"})
A, B = "a" * 96, "b" * 96


def file(letter: str, size: int = 10) -> FileDigests:
    return FileDigests(size, Digest.sha256(letter * 64), Digest.sha384(letter * 96))


def component(role: Role, letter: str | None, size: int = 10) -> ComponentFacts:
    content = file(letter, size) if letter is not None else None
    return ComponentFacts(role, content, content.sha256 if content is not None else None)


def launch(value: str | None = A, coverage: frozenset[str] = FULL, **changed: object) -> LaunchFacts:
    facts = LaunchFacts("default", "direct_kernel", 4, "EPYC-v4", 1, "qemu", "quiet", value, value, value, coverage)
    return replace(facts, **changed)  # type: ignore[arg-type]


def release(tag: str = "v1", **changed: object) -> ReleaseFacts:
    facts = ReleaseFacts(
        tag=tag,
        commit="c" * 40,
        decision=Decision.ALLOW,
        conditions=(Condition("files-match-manifest", ConditionState.MET, "It holds."),),
        components=tuple(component(role, "1") for role in Role),
        materials=(MaterialFacts("dash", "amd64", "0.5", "d" * 64),),
        launches=(launch(),),
        recipe_sha256="e" * 64,
        base_image="",
        policy_sha256="f" * 64,
    )
    return replace(facts, **changed)  # type: ignore[arg-type]


def sealing(before: LaunchFacts, after: LaunchFacts) -> Sealing:
    one, other = release("v1", launches=(before,)), release("v2", launches=(after,))
    return compare_releases(one, other).launches[0].sealing


def test_another_measurement_of_the_same_launch_closes_sealed_data_and_says_so_in_words() -> None:
    comparison = compare_releases(release("v1"), release("v2", launches=(launch(B),)))
    change = comparison.launches[0]
    assert change.sealing is Sealing.CLOSED
    told = consequence(change, "v1", "v2")
    assert "sealed with a key derived from its launch measurement will not open under v2" in told
    assert "Keys that were derived without the measurement are not affected" in told
    assert "data sealed under one will not open under the other" in comparison.sentence


def test_the_same_measurement_of_everything_that_boots_opens_sealed_data() -> None:
    comparison = compare_releases(release("v1"), release("v2"))
    assert comparison.launches[0].sealing is Sealing.OPENS
    assert "data sealed under v1 opens under v2 on the same processor" in consequence(
        comparison.launches[0], "v1", "v2"
    )


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("1", "Kernel, initrd and command line are the same here"),
        ("2", "Kernel, initrd or command line changed, and the measurement did not"),
        (None, "Whether kernel, initrd and command line are the same is unknown"),
    ],
)
def test_a_measurement_of_the_firmware_only_warns_that_any_kernel_opens_sealed_data(
    kernel: str | None, words: str
) -> None:
    parts = [component(role, "1" if role is not Role.KERNEL else kernel) for role in Role]
    before = release("v1", launches=(launch(coverage=FIRMWARE),))
    after = release("v2", launches=(launch(coverage=FIRMWARE),), components=tuple(parts))
    comparison = compare_releases(before, after)
    change = comparison.launches[0]
    assert change.sealing is Sealing.FIRMWARE_ONLY
    assert words in consequence(change, "v1", "v2")
    assert "Seal nothing under this measurement." in consequence(change, "v1", "v2")
    assert "data sealed under it opens for any kernel" in comparison.sentence


@pytest.mark.parametrize(
    "changed",
    [{"vcpus": 8}, {"vcpu_type": "EPYC-Milan"}, {"guest_features": 33}, {"vmm": "ec2"}, {"boot_mode": "uefi_disk"}],
)
def test_another_launch_configuration_is_not_comparable_whatever_is_measured(changed: dict[str, object]) -> None:
    for value in (A, B, None):
        assert sealing(launch(A), launch(value, **changed)) is Sealing.NOT_COMPARABLE
    change = compare_releases(release("v1"), release("v2", launches=(launch(B, **changed),))).launches[0]
    assert "are not comparable" in consequence(change, "v1", "v2")


def test_another_command_line_is_the_same_configuration_and_another_measurement() -> None:
    assert sealing(launch(A), launch(B, command_line="debug")) is Sealing.CLOSED


@pytest.mark.parametrize(("before", "after"), [(A, None), (None, A), (None, None)])
def test_an_unknown_measurement_says_nothing_of_sealed_data(before: str | None, after: str | None) -> None:
    assert sealing(launch(before), launch(after)) is Sealing.UNKNOWN


def test_a_published_value_that_nobody_could_recompute_is_never_called_the_same() -> None:
    claimed = launch(A, recomputed=None, coverage=frozenset())
    assert sealing(claimed, claimed) is Sealing.UNKNOWN
    assert sealing(claimed, launch(B)) is Sealing.CLOSED


def test_a_configuration_that_one_release_lacks_has_nothing_to_be_held_against() -> None:
    comparison = compare_releases(release("v1", launches=()), release("v2"))
    change = comparison.launches[0]
    assert (change.likeness, change.sealing) == (Likeness.ADDED, Sealing.NOT_COMPARABLE)
    assert "Only v2 has a launch configuration default" in consequence(change, "v1", "v2")


def test_a_renamed_configuration_of_the_same_machine_is_found_again() -> None:
    comparison = compare_releases(
        release("v1", launches=(launch(name="small"),)), release("v2", launches=(launch(name="default"),))
    )
    assert [(entry.name, entry.sealing) for entry in comparison.launches] == [("small / default", Sealing.OPENS)]


def test_configurations_that_could_be_either_of_two_are_not_guessed() -> None:
    two = (launch(name="one"), launch(name="two"))
    comparison = compare_releases(release("v1", launches=two), release("v2", launches=(launch(name="three"),)))
    assert {entry.likeness for entry in comparison.launches} == {Likeness.ADDED, Likeness.REMOVED}


def test_the_sentence_names_what_changed_and_what_cannot_be_compared() -> None:
    parts = [component(Role.KATANA, "2", 12), component(Role.KERNEL, "1"), component(Role.INITRD, None)]
    after = release("v2", commit="d" * 40, components=tuple(parts), decision=Decision.DENY)
    comparison = compare_releases(release("v1"), after)
    assert comparison.sentence.startswith("v2 is built from another commit than v1.")
    assert "Components that changed: katana; that are gone: ovmf, disk; that cannot be compared: initrd;" in (
        comparison.sentence
    )
    assert "that are the same bytes: kernel." in comparison.sentence
    assert comparison.sentence.endswith("Decision: allow for v1, deny for v2.")
    katana = comparison.components[0]
    assert (katana.growth, katana.sizes) == (2, (10, 12))


def test_a_condition_that_changed_is_named_with_both_states() -> None:
    worse = (Condition("files-match-manifest", ConditionState.UNKNOWN, "Nobody looked."),)
    comparison = compare_releases(release("v1"), release("v2", conditions=worse, decision=Decision.DENY))
    assert '("The published files are what their manifest says" was met, is unknown)' in comparison.sentence


def test_a_release_compared_with_itself_says_only_that() -> None:
    assert compare_releases(release(), release()).sentence == "v1 is compared with itself."


@pytest.mark.parametrize(("before", "after"), list(product(["e" * 64, "d" * 64, ""], repeat=2)))
def test_a_recipe_that_is_not_known_is_never_the_same(before: str, after: str) -> None:
    comparison = compare_releases(release("v1", recipe_sha256=before), release("v2", recipe_sha256=after))
    expected = Likeness.UNKNOWN if not before or not after else likeness(before, after)
    assert comparison.recipe.likeness is expected
    told = {
        Likeness.SAME: "",
        Likeness.CHANGED: "The recipe is another one.",
        Likeness.UNKNOWN: "The recipe is not known of both.",
    }
    assert told[expected] in comparison.sentence
    assert (expected is Likeness.SAME) == ("recipe" not in comparison.sentence)


def test_a_base_image_that_is_not_known_differs_from_none_that_is_pulled() -> None:
    pulled = "debian@sha256:" + "a" * 64
    rows = {
        (one, other): compare_releases(release("v1", base_image=one), release("v2", base_image=other)).base.likeness
        for one, other in product(["", pulled, None], repeat=2)
    }
    assert rows["", ""] is rows[pulled, pulled] is Likeness.SAME
    assert rows["", pulled] is Likeness.CHANGED
    assert {rows[one, None] for one in ("", pulled, None)} == {Likeness.UNKNOWN}


def test_materials_are_told_apart_as_new_gone_newer_and_other_bytes_of_the_same_version() -> None:
    before = [
        MaterialFacts("dash", "amd64", "0.5", "1" * 64),
        MaterialFacts("libc6", "amd64", "2.39", "2" * 64),
        MaterialFacts("make", "amd64", "4.3", "3" * 64),
        MaterialFacts("zip", "amd64", "3", "4" * 64),
    ]
    after = [
        MaterialFacts("dash", "amd64", "0.5", "1" * 64),
        MaterialFacts("libc6", "amd64", "2.40", "5" * 64),
        MaterialFacts("make", "amd64", "4.3", "6" * 64),
        MaterialFacts("gcc", "amd64", "12", "7" * 64),
    ]
    found = compare_materials(before, after)
    assert found.same == 1
    assert [row.name for row in found.added] == ["gcc"]
    assert [row.name for row in found.removed] == ["zip"]
    assert [row.name for row in found.other_version] == ["libc6"]
    assert [row.name for row in found.other_bytes] == ["make"]
    told = compare_releases(release("v1", materials=tuple(before)), release("v2", materials=tuple(after))).sentence
    assert (
        "Materials: 1 added, 1 removed, 1 of another version, 1 of the same version with other bytes, 1 the same."
        in told
    )


def test_one_name_in_several_versions_comes_and_goes_by_itself() -> None:
    before = [MaterialFacts("linux", "amd64", version, version * 64) for version in "12"]
    after = [MaterialFacts("linux", "amd64", version, version * 64) for version in "23"]
    found = compare_materials(before, after)
    assert (found.same, len(found.other_version)) == (1, 1)
    found = compare_materials(before, [*after, MaterialFacts("linux", "amd64", "4", "4" * 64)])
    assert (len(found.added), len(found.removed)) == (2, 1)


materials = st.none() | st.lists(
    st.builds(
        MaterialFacts,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["amd64", "all"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["1" * 64, "2" * 64, "3" * 64]),
    ),
    max_size=6,
    unique_by=lambda entry: entry.sha256,
).map(tuple)
parts = st.lists(
    st.builds(component, st.sampled_from(list(Role)), st.sampled_from([None, "1", "2"])),
    unique_by=lambda entry: entry.role,
).map(tuple)
values = st.sampled_from([A, B, None])
launches = st.lists(
    st.builds(
        LaunchFacts,
        st.sampled_from(["one", "two"]),
        st.sampled_from(["direct_kernel", "uefi_disk"]),
        st.sampled_from([4, 8]),
        st.just("EPYC-v4"),
        st.just(1),
        st.just("qemu"),
        st.sampled_from([None, "", "quiet"]),
        values,
        values,
        values,
        st.sampled_from([frozenset(), FIRMWARE, FULL]),
    ),
    unique_by=lambda entry: entry.name,
    max_size=2,
).map(tuple)
releases = st.builds(
    release,
    st.sampled_from(["v1", "v2"]),
    commit=st.sampled_from(["c" * 40, "d" * 40]),
    decision=st.sampled_from(list(Decision)),
    components=parts,
    materials=materials,
    launches=launches,
    recipe_sha256=st.sampled_from(["", "e" * 64, "d" * 64]),
    base_image=st.sampled_from([None, "", "debian@sha256:" + "a" * 64]),
    policy_sha256=st.sampled_from(["", "f" * 64]),
)


def turned(comparison: ReleaseComparison) -> dict[str, object]:
    """What the comparison says of each row, by names that do not depend on the order of the sides."""
    return {
        "components": [(row.role, row.likeness, row.growth) for row in comparison.components],
        "launches": sorted((*sorted(row.name.split(" / ")), row.likeness, row.sealing) for row in comparison.launches),
        "materials": (
            comparison.materials.likeness,
            comparison.materials.same,
            len(comparison.materials.other_version),
            len(comparison.materials.other_bytes),
        ),
        "rows": [row.likeness for row in (comparison.commit, comparison.recipe, comparison.base, comparison.policy)],
    }


@given(releases, releases)
def test_swapping_the_sides_swaps_every_row_and_nothing_else(one: ReleaseFacts, other: ReleaseFacts) -> None:
    there, back = compare_releases(one, other), compare_releases(other, one)
    seen = turned(back)
    seen["components"] = [
        (row.role, mirrored(row.likeness), -row.growth if row.growth is not None else None) for row in back.components
    ]
    seen["launches"] = sorted(
        (*sorted(row.name.split(" / ")), mirrored(row.likeness), row.sealing) for row in back.launches
    )
    assert seen == turned(there)
    assert len(there.materials.added) == len(back.materials.removed)
    assert len(there.materials.removed) == len(back.materials.added)


@given(releases, releases)
def test_nothing_is_called_the_same_while_a_side_is_unknown(one: ReleaseFacts, other: ReleaseFacts) -> None:
    comparison = compare_releases(one, other)
    for part in comparison.components:
        known = all(side is not None and side.content is not None for side in (part.before, part.after))
        assert part.likeness is not Likeness.SAME or known
    for change in comparison.launches:
        for row in (*change.values, *change.measurements):
            assert row.likeness is not Likeness.SAME or row.before == row.after is not None
        if change.sealing in {Sealing.OPENS, Sealing.FIRMWARE_ONLY}:
            assert change.before is not None
            assert change.after is not None
            assert change.before.recomputed == change.after.recomputed is not None
    if comparison.materials.likeness is Likeness.SAME:
        assert one.materials is not None
        assert other.materials is not None
        assert set(one.materials) == set(other.materials)
    told = comparison.sentence
    if "All components are the same bytes" in told:
        assert all(entry.content is not None for entry in (*one.components, *other.components))
    assert told.endswith(".")


@given(releases, releases)
def test_every_change_of_the_launch_is_told_once_in_the_sentence(one: ReleaseFacts, other: ReleaseFacts) -> None:
    comparison = compare_releases(one, other)
    if comparison.itself:
        return
    assert (Sealing.CLOSED in {entry.sealing for entry in comparison.launches}) == (
        "will not open under the other" in comparison.sentence
    )
    for change in comparison.launches:
        assert consequence(change, one.tag, other.tag).endswith(".")


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("https://github.com/o/r", "https://github.com/o/r/compare/a...b"),
        ("https://github.com/o/r.git", "https://github.com/o/r/compare/a...b"),
        ("https://codeberg.org/o/r/", "https://codeberg.org/o/r/compare/a...b"),
        ("https://gitlab.com/g/s/r", "https://gitlab.com/g/s/r/-/compare/a...b"),
        ("https://github.com/o/r/x", ""),
        ("http://github.com/o/r", ""),
        ("https://github.com.evil.example/o/r", ""),
        ("https://github.com/../r", ""),
        ('https://github.com/o/r"><script>', ""),
        ("https://user@github.com/o/r", ""),
        ("file:///srv/source", ""),
        ("javascript:alert(1)", ""),
        ("https://github.com/" + "a/" * 5000, ""),
    ],
)
def test_only_known_forges_are_linked(source: str, address: str) -> None:
    assert forge_comparison(source, "a", "b") == address


def test_what_can_be_named_without_end_is_counted() -> None:
    assert listed("abc", 2) == "a, b and 1 more"
    assert listed("ab", 2) == "a, b"
