"""The verdict in words: the rows of the design, and what holds for every combination of the axes' states."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import RebuildOutcome, compare, overall_outcome
from builds.domain.condition_words import in_short, words_of
from builds.domain.evidence import (
    AttestationState,
    AttestedComponent,
    BuildFailure,
    MeasurementEvidence,
    OpaqueInput,
    OperatorResult,
    Policy,
    ReleaseEvidence,
)
from builds.domain.roles import BootMode, Role
from builds.domain.sentence import listed
from builds.domain.verdict import Decision, judge
from tests.domain.test_comparison import file_digests, honest
from tests.domain.test_verdict import ALL, OPAQUE, VALUE, attested, measured, operator, perfect

COMMIT = "c" * 40
NOT_COVERED = ("Katana's arguments", "chain configuration", "data disk")
FIRMWARE = frozenset({"ovmf"})


def result(name: str, other: tuple[Role, ...] = (), lacking: tuple[Role, ...] = ()) -> OperatorResult:
    made = {role: file_digests("b" if role in other else "a") for role in Role if role not in lacking}
    rows = compare([honest(role) for role in Role], made)
    return OperatorResult(name, rows, overall_outcome(rows), ())


def design(**changes: object) -> ReleaseEvidence:
    """All good, in the design's own numbers."""
    good = replace(perfect(), results=tuple(operator(name) for name in ("one", "two", "three")))
    return replace(good, measurements=(measured(not_covered=NOT_COVERED),), **changes)


def attested_but(role: Role, component: AttestedComponent) -> dict[Role, AttestedComponent]:
    return {**dict.fromkeys(Role, attested(AttestationState.VERIFIED)), role: component}


REBUILT = (
    f"3 of 3 independent operators (2 needed) rebuilt every component from commit {COMMIT} with the same bytes."
    " The expected workflow attested them."
)
MEASURED = (
    "The measurement covers firmware, kernel, initrd and command line;"
    " it does not cover Katana's arguments, chain configuration or data disk."
)
ROWS: Mapping[str, tuple[ReleaseEvidence, str]] = {
    "all good": (design(), f"{REBUILT} {MEASURED} Allow."),
    "firmware only": (
        replace(design(), measurements=(measured(coverage=FIRMWARE),)),
        (
            f"{REBUILT} The files were reproduced, but the measurement covers firmware only: another kernel, initrd or"
            " command line would give the same measurement. A matching report does not show that this Katana runs."
            " Deny: coverage is firmware only."
        ),
    ),
    "initrd differs": (
        design(
            results=(result("one", (Role.INITRD,)), result("two", (Role.INITRD,))),
            first_difference="bin/katana",
        ),
        (
            f"Katana, kernel, firmware and disk were reproduced from commit {COMMIT}. initrd was not: 2 of 2 operators"
            " agree with each other, not with the publisher. First difference: bin/katana."
            f" The expected workflow attested every component. {MEASURED}"
            " Deny: the published bytes were not reproduced."
        ),
    ),
    "build failed": (
        design(
            results=(),
            failed=1,
            failure=BuildFailure("materials", "libc6 2.39-0ubuntu8.7 is gone from its archive and our store lacks it"),
        ),
        (
            "No evidence either way: the rebuild stopped at materials. libc6 2.39-0ubuntu8.7 is gone from its archive"
            " and our store lacks it. Not a mismatch. The expected workflow attested every component."
            f" {MEASURED} Deny: 0 of 2 rebuilt; origins of the files are not known."
        ),
    ),
    "no attestation": (
        design(
            attestations=attested_but(
                Role.INITRD,
                AttestedComponent(
                    AttestationState.ABSENT, "GitHub holds no attestation for it (asked 2026-11-25 10:02 UTC)."
                ),
            )
        ),
        (
            f"3 of 3 independent operators (2 needed) rebuilt every component from commit {COMMIT} with the same bytes."
            " The expected workflow attested katana, kernel, firmware and disk."
            " initrd: GitHub holds no attestation for it (asked 2026-11-25 10:02 UTC)."
            " Rebuilds show what it was made from; nothing signed shows who published it."
            f" {MEASURED} Deny: attestation absent."
        ),
    ),
    "wrong workflow": (
        design(
            attestations=dict.fromkeys(
                Role,
                AttestedComponent(
                    AttestationState.WRONG_IDENTITY,
                    "The signature is valid, but the signer is not the expected one. workflow: expected A, found B.",
                ),
            )
        ),
        (
            f"3 of 3 independent operators (2 needed) rebuilt every component from commit {COMMIT} with the same bytes."
            " katana, kernel, initrd, firmware and disk: The signature is valid, but the signer is not the expected"
            " one. workflow: expected A, found B. Treat as hostile until explained."
            f" {MEASURED} Deny: signed by somebody who is not the expected publisher."
        ),
    ),
    "opaque input": (
        design(embedded=(OpaqueInput("katana", OPAQUE.digest, "a download pinned by its digest only"),)),
        (
            f"{REBUILT} {MEASURED} Rebuilt around a binary taken as is: katana ({OPAQUE.digest},"
            " a download pinned by its digest only). Nobody has rebuilt that binary from source."
            " Deny unless the policy accepts this digest."
        ),
    ),
    "not yet": (
        replace(
            design(results=(), first_result_expected=datetime(2026, 11, 25, 14, 30, tzinfo=UTC)),
            measurements=(measured(rebuilt=None, katana_inside_initrd=None),),
        ),
        (
            "Not rebuilt yet: 0 of 2. First result expected about 14:30 UTC, or run it yourself: one command."
            " The expected workflow attested every component. The measurement is not confirmed: no rebuild has computed"
            " it. The measurement covers firmware, kernel, initrd and command line. That the covered initrd holds this"
            " katana is not shown. Deny until then: 0 of 2 rebuilt; the measurement is not confirmed; coverage is not"
            " shown; origins of the files are not known."
        ),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_design_has_its_wording(row: str) -> None:
    evidence, words = ROWS[row]
    assert judge(evidence).sentence == words


def test_without_an_estimate_nothing_is_promised() -> None:
    sentence = judge(design(results=())).sentence
    assert "Not rebuilt yet: 0 of 2. Run it yourself: one command." in sentence
    assert "expected about" not in sentence


def test_a_dispute_names_who_got_what_where_and_how_the_machines_differ() -> None:
    mine = replace(result("Ada"), environment={"kernel": "6.1"})
    other = replace(result("Bob", (Role.INITRD,)), environment={"kernel": "6.5"})
    sentence = judge(design(results=(mine, other), first_difference="bin/katana")).sentence
    assert "1 of 2 operators got every published byte" in sentence
    assert "1 did not (Bob: initrd mismatched). First difference: bin/katana." in sentence
    assert "The machines of Bob and Ada differ: kernel: 6.5 and 6.1." in sentence
    assert sentence.endswith("Deny: operators disagree.")


def test_one_operator_agrees_with_nobody() -> None:
    sentence = judge(design(results=(result("one", (Role.INITRD,)),))).sentence
    assert "initrd was not: 1 operator got other bytes than were published." in sentence


def test_operators_that_disagree_among_themselves_are_not_said_to_agree() -> None:
    sentence = judge(design(results=(result("one", (Role.INITRD,)), result("two", (Role.KERNEL,))))).sentence
    assert "the 2 operators do not agree with each other either (kernel and initrd)" in sentence


def test_what_no_rebuild_made_is_not_called_different() -> None:
    sentence = judge(design(results=(result("one", lacking=(Role.DISK,)),))).sentence
    assert "disk was not made by the rebuild." in sentence
    assert "other bytes" not in sentence


def test_an_accepted_opaque_input_stays_in_the_sentence_that_allows() -> None:
    sentence = judge(design(embedded=(OPAQUE,), policy=Policy(2, frozenset({OPAQUE.digest})))).sentence
    assert f"The policy accepts 1 binary that nobody rebuilt from source: initrd: bin/blob ({OPAQUE.digest}" in sentence
    assert sentence.endswith("Allow.")


def test_a_measurement_that_differs_says_whose_files_give_another() -> None:
    published = judge(replace(design(), measurements=(measured(recomputed="b" * 96),))).sentence
    rebuilt = judge(replace(design(), measurements=(measured(rebuilt="b" * 96),))).sentence
    assert "The published measurement is not the one that the published files give." in published
    assert "The rebuilt files give another measurement than the published one." in rebuilt
    assert "that the published files give" not in rebuilt


def test_a_recipe_that_names_without_end_what_is_not_covered_does_not_fill_the_sentence() -> None:
    names = tuple(f"thing {number}" for number in range(1000))
    sentence = judge(replace(design(), measurements=(measured(not_covered=names),))).sentence
    assert "thing 7 or 992 more." in sentence
    assert "thing 8" not in sentence


def test_several_configurations_are_told_apart() -> None:
    sentence = judge(replace(design(), measurements=(measured(), measured(configuration="large")))).sentence
    assert "The measurement of default covers" in sentence
    assert "The measurement of large covers" in sentence


@given(st.text(alphabet="\u202eא<b>\n\x00x", min_size=1000, max_size=10_000))
def test_what_strangers_wrote_is_one_short_line_in_the_sentence(text: str) -> None:
    wrong = AttestedComponent(AttestationState.WRONG_IDENTITY, text)
    sentence = judge(
        design(attestations=dict.fromkeys(Role, wrong), results=(), failed=1, failure=BuildFailure(text, text))
    ).sentence
    assert len(sentence) < 2500
    assert not set("\n\x00\u202e") & set(sentence)


@given(st.lists(st.text(min_size=1)))
def test_a_list_names_each_once_in_order(names: list[str]) -> None:
    assert listed(names).replace(" and ", ", ").split(", ") == ", ".join(names).replace(" and ", ", ").split(", ")


# Every combination of the axes.


@dataclass(frozen=True)
class Axes:
    rebuild: str
    attestation: AttestationState
    measurement: str
    coverage: str
    opaque: str
    files: str

    def __str__(self) -> str:
        return " ".join(vars(self).values())


Change = Callable[[ReleaseEvidence], ReleaseEvidence]
REBUILDS: Mapping[str, Change] = {
    "none": lambda e: replace(e, results=()),
    "failed": lambda e: replace(e, results=(), failed=1, failure=BuildFailure("materials", "a package is gone")),
    "reproduced": lambda e: replace(e, results=(result("one"), result("two"))),
    "mismatched": lambda e: replace(e, results=(result("one", (Role.INITRD,)), result("two", (Role.INITRD,)))),
    "missing": lambda e: replace(e, results=(result("one", lacking=(Role.DISK,)), result("two", lacking=(Role.DISK,)))),
    "disputed": lambda e: replace(e, results=(result("one"), result("two", (Role.INITRD,)))),
}
THREE_WAYS = {"matches": (VALUE, VALUE), "differs": ("b" * 96, VALUE), "unknown": (VALUE, None)}
COVERAGES = {"full": ALL, "firmware-only": FIRMWARE, "none": frozenset[str]()}
OPAQUES: Mapping[str, Change] = {
    "none": lambda e: e,
    "accepted": lambda e: replace(e, embedded=(OPAQUE,), policy=Policy(2, frozenset({OPAQUE.digest}))),
    "open": lambda e: replace(e, embedded=(OPAQUE,)),
}
FILES: Mapping[str, Change] = {
    "ok": lambda e: e,
    "contradict": lambda e: replace(e, contradictions=("kernel: another digest.",)),
    "changed": lambda e: replace(e, changes=("asset vmlinuz is gone",)),
}
COMBINATIONS = [
    Axes(*states) for states in itertools.product(REBUILDS, AttestationState, THREE_WAYS, COVERAGES, OPAQUES, FILES)
]


def evidence_of(axes: Axes) -> ReleaseEvidence:
    recomputed, rebuilt = THREE_WAYS[axes.measurement]
    shown = "bin/katana" if axes.rebuild == "reproduced" else None
    coverage = COVERAGES[axes.coverage]
    measurement = MeasurementEvidence(
        "default", BootMode.DIRECT_KERNEL, VALUE, recomputed if coverage else None, rebuilt, coverage, shown
    )
    evidence = replace(
        perfect(), attestations=dict.fromkeys(Role, attested(axes.attestation)), measurements=(measurement,)
    )
    for change in (REBUILDS[axes.rebuild], OPAQUES[axes.opaque], FILES[axes.files]):
        evidence = change(evidence)
    return evidence


def test_a_component_that_was_only_copied_is_not_told_as_built() -> None:
    copying = tuple(replace(operator(name), copied=frozenset({Role.KERNEL})) for name in ("one", "two"))
    sentence = judge(design(results=copying)).sentence
    assert sentence.startswith(
        f"2 of 2 independent operators (2 needed) rebuilt katana, initrd, firmware and disk from commit {COMMIT} with"
        " the same bytes. Kernel is the same input, copied as it is and not built. The expected workflow"
    )
    other = replace(result("one", (Role.INITRD,)), copied=frozenset({Role.KERNEL, Role.OVMF, Role.INITRD}))
    sentence = judge(design(results=(other,))).sentence
    assert sentence.startswith(
        f"Katana and disk were reproduced from commit {COMMIT}. initrd was not: 1 operator got other bytes than were"
        " published. Kernel and firmware are the same input, copied as they are and not built. The expected"
    )
    every = tuple(replace(entry, copied=frozenset(Role)) for entry in copying)
    sentence = judge(design(results=every)).sentence
    assert f"made every component from commit {COMMIT} with the same bytes. Each is the same input" in sentence


@pytest.mark.parametrize("rebuild", REBUILDS)
@pytest.mark.parametrize("attestation", AttestationState)
def test_every_combination_of_axes_reads_true(rebuild: str, attestation: AttestationState) -> None:
    chosen = [axes for axes in COMBINATIONS if (axes.rebuild, axes.attestation) == (rebuild, attestation)]
    assert len(chosen) == 81
    for axes in chosen:
        holds_what_every_sentence_must(axes)


def holds_what_every_sentence_must(axes: Axes) -> None:
    evidence = evidence_of(axes)
    verdict = judge(evidence)
    sentence = verdict.sentence
    last = re.split(r"(?<=[.]) (?=[A-Z])", sentence)[-1]
    assert last == "Allow." if verdict.decision is Decision.ALLOW else last.startswith("Deny"), str(axes)
    assert (verdict.decision is Decision.ALLOW) == (not verdict.unmet)
    assert ("with the same bytes" in sentence) == (verdict.outcome is RebuildOutcome.REPRODUCED), str(axes)
    assert ("covers firmware only" in sentence) == (axes.coverage == "firmware-only"), str(axes)
    assert ("Nobody has rebuilt that binary" in sentence) == (axes.opaque == "open"), str(axes)
    assert ("The policy accepts 1 binary" in sentence) == (axes.opaque == "accepted"), str(axes)
    assert ("No evidence either way" in sentence) == (axes.rebuild == "failed"), str(axes)
    assert ("Not a mismatch" in sentence) == (axes.rebuild == "failed"), str(axes)
    assert ("Disputed" in sentence) == (axes.rebuild == "disputed"), str(axes)
    assert ("Treat as hostile" in sentence) == (axes.attestation is AttestationState.WRONG_IDENTITY), str(axes)
    assert ("The expected workflow attested" in sentence) == (axes.attestation is AttestationState.VERIFIED)
    assert "  " not in sentence
    assert "None" not in sentence
    assert not re.search(r"[a-z]-[a-z]+-[a-z]+-", sentence), "a key of the API is no word for people"
    if last != "Deny unless the policy accepts this digest." and verdict.unmet:
        words = in_short(verdict.unmet, evidence)
        assert len(words) == len(verdict.unmet)
        assert all(text in last for text in words), str(axes)
    assert all(words_of(entry.key).title != entry.key for entry in verdict.conditions)
