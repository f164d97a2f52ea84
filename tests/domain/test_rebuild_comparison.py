"""Two rebuilds beside each other: what they say about each other, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import RebuildOutcome
from builds.domain.digest import Digest, FileDigests
from builds.domain.file_difference import DifferingFile, ListedFile
from builds.domain.lifecycle import RunState
from builds.domain.likeness import Likeness
from builds.domain.rebuild_comparison import (
    FilesChange,
    RebuildComparison,
    RebuildFacts,
    compare_rebuilds,
)
from builds.domain.release_comparison import MaterialFacts
from builds.domain.roles import Role

DIFFERING = DifferingFile(
    "initrd",
    "bin/katana",
    ListedFile("initrd", "bin/katana", 1, "1" * 64, ""),
    ListedFile("initrd", "bin/katana", 1, "2" * 64, ""),
)
NO_FILES = FilesChange((), 0, 0, 0)
ONE_FILE = FilesChange((DIFFERING,), 1, 0, 0)


def mirrored(found: Likeness) -> Likeness:
    """What it is when the two sides change places."""
    return {Likeness.ADDED: Likeness.REMOVED, Likeness.REMOVED: Likeness.ADDED}.get(found, found)


def file(letter: str) -> FileDigests:
    return FileDigests(10, Digest.sha256(letter * 64), Digest.sha384(letter * 96))


def rebuild(name: str = "1", operator: str = "Ada", letter: str = "a", **changed: Any) -> RebuildFacts:
    facts = RebuildFacts(
        name=name,
        operator=operator,
        project="enclave",
        tag="v1",
        commit="c" * 40,
        run=RunState.SUCCEEDED,
        outcome=RebuildOutcome.REPRODUCED if letter == "a" else RebuildOutcome.MISMATCHED,
        why_not="",
        components={role: file(letter if role is Role.INITRD else "a") for role in Role},
        environment={"kernel": "6.1", "cpus": 4},
        materials=(MaterialFacts("dash", "amd64", "0.5", "d" * 64),),
        stages=(("source", 1.0),),
        measurements={"default": letter * 96},
    )
    return replace(facts, **changed)


def compare(one: RebuildFacts, other: RebuildFacts, files: FilesChange = NO_FILES) -> RebuildComparison:
    return compare_rebuilds(one, other, files)


def test_the_same_bytes_are_said_to_be_the_same_with_every_component_named() -> None:
    comparison = compare(rebuild(), rebuild("2", "Ben"))
    assert comparison.sentence == (
        "Both made the same bytes of every component (katana, kernel, initrd, ovmf, disk)."
        " Both have the published bytes."
    )
    assert not comparison.warnings


def test_other_bytes_name_the_component_who_has_the_published_ones_and_the_first_file() -> None:
    comparison = compare(rebuild(), rebuild("2", "Ben", "b", environment={"kernel": "6.5", "cpu": "EPYC"}), ONE_FILE)
    assert comparison.sentence == (
        "They did not make the same bytes of initrd. They made the same bytes of katana, kernel, ovmf, disk."
        " Ada has the published bytes. Inside the initrd one file differs; the first, bin/katana, has other bytes."
        " Their machines differ in kernel. Only one names cpu, cpus. Their materials are the same."
    )


def test_two_that_agree_against_the_publisher_are_told_so() -> None:
    assert "Neither has the published bytes" in compare(rebuild(letter="b"), rebuild("2", "Ben", "b")).sentence


def test_materials_that_nobody_signed_are_unknown_and_not_the_same() -> None:
    comparison = compare(rebuild(), rebuild("2", "Ben", "b", materials=None))
    assert comparison.materials.likeness is Likeness.UNKNOWN
    assert "What materials went into one of them is not known." in comparison.sentence
    other = (MaterialFacts("dash", "amd64", "0.6", "e" * 64),)
    assert "Their materials differ in 1." in compare(rebuild(), rebuild("2", "Ben", "b", materials=other)).sentence


@pytest.mark.parametrize("state", [state for state in RunState if state is not RunState.SUCCEEDED])
def test_a_run_that_did_not_succeed_says_nothing_about_bytes(state: RunState) -> None:
    comparison = compare(rebuild(), rebuild("2", "Ben", run=state, components={}, outcome=None))
    assert comparison.sentence == "Not both came to their end, so that nothing is said about their bytes."
    assert f"The rebuild of Ben is {state.value}: it has no outcome and is no evidence." in comparison.warnings
    assert {part.likeness for part in comparison.components} == {Likeness.UNKNOWN}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"project": "other"}, "different projects, enclave and other"),
        ({"tag": "v2"}, "different releases, v1 and v2"),
        ({"commit": "d" * 40}, "different source commits"),
        ({"why_not": "The recipe asks for the network."}, "Ben does not count. The recipe asks for the network."),
        ({"operator": "Ada"}, "Both are by one operator, who counts once"),
        ({"name": "1"}, "one rebuild beside itself"),
    ],
)
def test_what_makes_a_comparison_worth_less_is_said_first(changed: dict[str, Any], words: str) -> None:
    comparison = compare(rebuild(), rebuild(**{"name": "2", "operator": "Ben", **changed}))
    assert any(words in warning for warning in comparison.warnings)


def test_rebuilds_of_different_releases_are_not_held_against_one_publication() -> None:
    assert "published" not in compare(rebuild(), rebuild("2", "Ben", "b", tag="v2")).sentence


def test_a_component_that_one_did_not_make_is_gone_and_not_changed() -> None:
    comparison = compare(rebuild(), rebuild("2", "Ben", components={Role.KATANA: file("a")}))
    assert {part.role: part.likeness for part in comparison.components}[Role.DISK] is Likeness.REMOVED
    assert "They did not make the same bytes of kernel, initrd, ovmf, disk." in comparison.sentence


def test_stages_of_both_are_paired_by_name() -> None:
    comparison = compare(rebuild(), rebuild("2", stages=(("source", 2.0), ("image", None))))
    assert [(row.name, row.before, row.after) for row in comparison.stages] == [
        ("source", 1.0, 2.0),
        ("image", None, None),
    ]


rebuilds = st.builds(
    rebuild,
    st.sampled_from(["1", "2"]),
    st.sampled_from(["Ada", "Ben", ""]),
    st.sampled_from("ab"),
    tag=st.sampled_from(["v1", "v2"]),
    run=st.sampled_from(list(RunState)),
    outcome=st.none() | st.sampled_from(list(RebuildOutcome)),
    why_not=st.sampled_from(["", "Nobody signed it."]),
    components=st.dictionaries(st.sampled_from(list(Role)), st.sampled_from("ab").map(file)),
    environment=st.dictionaries(st.sampled_from(["kernel", "cpu"]), st.sampled_from(["x", "y"])),
    materials=st.none() | st.just(()) | st.just((MaterialFacts("dash", "", "1", "d" * 64),)),
    measurements=st.dictionaries(st.just("default"), st.none() | st.sampled_from(["a" * 96, "b" * 96])),
)


@given(rebuilds, rebuilds)
def test_swapping_the_sides_swaps_every_row_and_nothing_else(one: RebuildFacts, other: RebuildFacts) -> None:
    there, back = compare(one, other), compare(other, one)
    assert [(part.role, part.likeness) for part in there.components] == [
        (part.role, mirrored(part.likeness)) for part in back.components
    ]
    for rows in ("environment", "measurements"):
        assert [(row.name, row.likeness) for row in getattr(there, rows)] == [
            (row.name, row.likeness) for row in getattr(back, rows)
        ]
    assert len(there.warnings) == len(back.warnings)
    assert there.materials.likeness is back.materials.likeness


@given(rebuilds, rebuilds)
def test_nothing_is_the_same_unless_both_ended_and_both_are_known(one: RebuildFacts, other: RebuildFacts) -> None:
    comparison = compare(one, other)
    for part in comparison.components:
        if part.likeness is Likeness.SAME:
            assert comparison.both_ended
            assert one.components[part.role] == other.components[part.role]
    for row in (*comparison.environment, *comparison.measurements):
        assert row.likeness is not Likeness.SAME or row.before == row.after is not None
    if "Both made the same bytes" in comparison.sentence:
        assert dict(one.components) == dict(other.components)
        assert comparison.both_ended
