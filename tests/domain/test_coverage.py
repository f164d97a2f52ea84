"""Which check reaches which component: each cell of the matrix in its state, and none good without evidence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import compare
from builds.domain.coverage import MatrixRow, covered_parts, matrix_of
from builds.domain.evidence import (
    AttestationState,
    AttestedComponent,
    MeasurementEvidence,
    MeasurementState,
    OpaqueInput,
    OperatorResult,
    Policy,
    ReleaseEvidence,
)
from builds.domain.marks import Mark, Marked, worst
from builds.domain.origins import OriginKind
from builds.domain.roles import BootMode, Role
from tests.domain.test_comparison import file_digests, honest
from tests.domain.test_verdict import OPAQUE, evidences, measured, operator, perfect

BUILT = {role: {OriginKind.BUILT} for role in Role}
FIRMWARE = frozenset({"ovmf"})


def row(evidence: ReleaseEvidence, role: Role, origins: Collection[OriginKind] = (OriginKind.BUILT,)) -> MatrixRow:
    return next(entry for entry in matrix_of(evidence, {role: origins}) if entry.role is role)


def test_all_good_is_good_everywhere_but_for_what_does_not_boot() -> None:
    rows = matrix_of(perfect(), BUILT)
    assert [entry.role for entry in rows] == list(Role)
    for entry in rows:
        assert (entry.attested.words, entry.made.words) == ("verified", "built from source")
        assert entry.rebuilt == Marked("2 of 2 reproduced it, 2 needed", Mark.HOLDS)
        wanted = Mark.UNUSED if entry.role is Role.DISK else Mark.HOLDS
        assert entry.measured.mark is wanted


@pytest.mark.parametrize(
    ("measurement", "role", "words", "mark"),
    [
        (measured(coverage=FIRMWARE), Role.KERNEL, "not covered", Mark.BROKEN),
        (measured(coverage=FIRMWARE), Role.KATANA, "not covered", Mark.BROKEN),
        (measured(coverage=FIRMWARE), Role.OVMF, "covered", Mark.HOLDS),
        (measured(katana_inside_initrd=None), Role.KATANA, "unknown", Mark.UNKNOWN),
        (measured(), Role.KATANA, "covered inside the initrd as bin/katana", Mark.HOLDS),
        (measured(recomputed="b" * 96), Role.KERNEL, "covered, and the measurement differs", Mark.BROKEN),
        (measured(rebuilt=None), Role.KERNEL, "covered, and the measurement is not confirmed", Mark.UNKNOWN),
        (measured(recomputed=None, coverage=frozenset()), Role.OVMF, "unknown", Mark.UNKNOWN),
        (measured(recomputed=None, coverage=frozenset()), Role.KATANA, "unknown", Mark.UNKNOWN),
        (measured(), Role.DISK, "not used by this launch configuration", Mark.UNUSED),
        (measured(boot_mode=BootMode.UEFI_DISK), Role.DISK, "not covered", Mark.BROKEN),
    ],
)
def test_what_a_measurement_binds(measurement: MeasurementEvidence, role: Role, words: str, mark: Mark) -> None:
    assert row(replace(perfect(), measurements=(measurement,)), role).measured == Marked(words, mark)


def test_without_a_measurement_it_is_unknown_and_with_two_the_worse_counts() -> None:
    assert row(replace(perfect(), measurements=()), Role.KERNEL).measured == Marked("unknown", Mark.UNKNOWN)
    both = replace(perfect(), measurements=(measured(), measured(configuration="uefi", coverage=FIRMWARE)))
    assert row(both, Role.KERNEL).measured.mark is Mark.BROKEN


@pytest.mark.parametrize(
    ("results", "words", "mark"),
    [
        ((), "not rebuilt yet", Mark.UNKNOWN),
        ((operator("one"),), "1 of 1 reproduced it, 2 needed", Mark.UNKNOWN),
        ((operator("one"), operator("two")), "2 of 2 reproduced it, 2 needed", Mark.HOLDS),
        ((operator("one"), operator("two"), operator("bad", "b")), "2 of 3 reproduced it, 2 needed", Mark.BROKEN),
    ],
)
def test_how_many_rebuilt_it(results: tuple[OperatorResult, ...], words: str, mark: Mark) -> None:
    assert row(replace(perfect(), results=results), Role.KERNEL).rebuilt == Marked(words, mark)


@pytest.mark.parametrize(
    ("origins", "words", "mark"),
    [
        ({OriginKind.BUILT}, "built from source", Mark.HOLDS),
        ({OriginKind.PACKAGE}, "same input", Mark.UNUSED),
        ({OriginKind.BUILT, OriginKind.SOURCE}, "same input", Mark.UNUSED),
        ({OriginKind.OPAQUE}, "opaque", Mark.BROKEN),
        (set[OriginKind](), "unknown", Mark.UNKNOWN),
    ],
)
def test_what_its_bytes_are_made_from(origins: set[OriginKind], words: str, mark: Mark) -> None:
    assert row(perfect(), Role.KERNEL, origins).made == Marked(words, mark)


def test_what_was_built_says_nothing_of_other_bytes_that_were_published() -> None:
    other = compare([honest(role) for role in Role], {role: file_digests("b") for role in Role})
    evidence = replace(perfect(), results=(replace(operator("one", "b"), comparisons=other),))
    assert row(evidence, Role.KERNEL).made == Marked("unknown", Mark.UNKNOWN)


def test_an_opaque_file_inside_a_component_is_its_own_whatever_was_built_around_it() -> None:
    evidence = replace(perfect(), embedded=(OPAQUE,))
    assert row(evidence, Role.INITRD).made == Marked("opaque", Mark.BROKEN)
    assert row(evidence, Role.KERNEL).made.mark is Mark.HOLDS
    accepted = replace(evidence, policy=Policy(2, frozenset({OPAQUE.digest})))
    assert row(accepted, Role.INITRD).made == Marked("opaque, accepted by the policy", Mark.UNUSED)
    whole = replace(perfect(), embedded=(OpaqueInput("kernel", OPAQUE.digest, "downloaded"),))
    assert row(whole, Role.KERNEL).made == Marked("opaque", Mark.BROKEN)


@pytest.mark.parametrize("state", AttestationState)
def test_only_a_verified_attestation_looks_good(state: AttestationState) -> None:
    evidence = replace(perfect(), attestations=dict.fromkeys(Role, AttestedComponent(state, "")))
    cell = row(evidence, Role.KERNEL).attested
    assert cell.words == state.value
    assert (cell.mark is Mark.HOLDS) == (state is AttestationState.VERIFIED)


@given(evidences, st.dictionaries(st.sampled_from(Role), st.sets(st.sampled_from(OriginKind))))
def test_no_cell_is_good_without_its_evidence(evidence: ReleaseEvidence, origins: dict[Role, set[OriginKind]]) -> None:
    rows = matrix_of(evidence, origins)
    assert {entry.role for entry in rows} == {component.role for component in evidence.components}
    for entry in rows:
        if entry.measured.mark is Mark.HOLDS:
            assert evidence.measurements
            assert all(found.state is MeasurementState.MATCHES for found in evidence.measurements)
        if entry.rebuilt.mark is Mark.HOLDS:
            assert len(evidence.counted) >= evidence.policy.needed_operators
        if entry.made.mark is Mark.HOLDS:
            assert evidence.counted
            assert origins[entry.role] == {OriginKind.BUILT}


def test_every_part_of_a_configuration_has_a_state() -> None:
    assert [part for part, _ in covered_parts(measured())] == ["ovmf", "kernel", "initrd", "cmdline", "katana", "disk"]
    assert {word.words for _, word in covered_parts(measured(recomputed=None, coverage=frozenset()))} == {"unknown"}


@given(st.lists(st.sampled_from(Mark)))
def test_of_several_states_the_worst_stands_for_all(marks: list[Mark]) -> None:
    found = worst([Marked(mark.value, mark) for mark in marks]).mark
    assert (found is Mark.BROKEN) == (Mark.BROKEN in marks)
    if found is Mark.HOLDS:
        assert set(marks) <= {Mark.HOLDS, Mark.UNUSED}
