from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import RebuildOutcome, compare
from builds.domain.condition_words import in_short
from builds.domain.conditions import ConditionState
from builds.domain.digest import Digest
from builds.domain.evidence import (
    AttestationState,
    AttestedComponent,
    MeasurementEvidence,
    MeasurementState,
    OpaqueInput,
    OperatorResult,
    Policy,
    ReleaseEvidence,
    judge_measurement,
)
from builds.domain.roles import BootMode, Role
from builds.domain.verdict import Decision, judge
from tests.domain.test_comparison import file_digests, honest

ALL = frozenset({"ovmf", "kernel", "initrd", "cmdline"})
VALUE = "a" * 96


def operator(
    name: str, seed: str = "a", *, counts: bool = True, opaque: tuple[OpaqueInput, ...] = ()
) -> OperatorResult:
    rows = compare([honest(role) for role in Role], {role: file_digests(seed) for role in Role})
    outcome = RebuildOutcome.REPRODUCED if seed == "a" else RebuildOutcome.MISMATCHED
    return OperatorResult(name, rows, outcome, opaque, "" if counts else "It does not count.")


def measured(**changes: object) -> MeasurementEvidence:
    return replace(
        MeasurementEvidence("default", BootMode.DIRECT_KERNEL, VALUE, VALUE, VALUE, ALL, "bin/katana"), **changes
    )


def attested(state: AttestationState) -> AttestedComponent:
    return AttestedComponent(state, f"The sentence of {state}.")


def perfect() -> ReleaseEvidence:
    return ReleaseEvidence(
        commit="c" * 40,
        components=tuple(honest(role) for role in Role),
        contradictions=(),
        absent=(),
        attestations=dict.fromkeys(Role, attested(AttestationState.VERIFIED)),
        results=(operator("one"), operator("two")),
        measurements=(measured(),),
        policy=Policy(2, frozenset()),
    )


OPAQUE = OpaqueInput("initrd: bin/blob", Digest.sha256("b" * 64), "a prebuilt binary")


def test_everything_in_order_is_allowed() -> None:
    verdict = judge(perfect())
    assert verdict.decision is Decision.ALLOW
    assert verdict.unmet == ()
    assert verdict.sentence.endswith("Allow.")


@pytest.mark.parametrize(
    ("evidence", "condition", "state"),
    [
        (replace(perfect(), contradictions=("x.",)), "files-match-manifest", ConditionState.UNMET),
        (replace(perfect(), absent=("disk: gone.",)), "files-match-manifest", ConditionState.UNKNOWN),
        (replace(perfect(), components=()), "files-match-manifest", ConditionState.UNKNOWN),
        (replace(perfect(), attestations={}), "attested-by-expected-publisher", ConditionState.UNKNOWN),
        (
            replace(perfect(), attestations=dict.fromkeys(Role, attested(AttestationState.WRONG_IDENTITY))),
            "attested-by-expected-publisher",
            ConditionState.UNMET,
        ),
        (replace(perfect(), results=(operator("one"),)), "reproduced-by-enough-operators", ConditionState.UNKNOWN),
        (
            replace(perfect(), results=(operator("one"), operator("two"), operator("bad", "b"))),
            "reproduced-by-enough-operators",
            ConditionState.UNMET,
        ),
        (
            replace(perfect(), results=(operator("one"), operator("net", counts=False))),
            "reproduced-by-enough-operators",
            ConditionState.UNKNOWN,
        ),
        (replace(perfect(), measurements=()), "measurements-recompute", ConditionState.UNKNOWN),
        (replace(perfect(), measurements=(measured(rebuilt=None),)), "measurements-recompute", ConditionState.UNKNOWN),
        (
            replace(perfect(), measurements=(measured(recomputed="b" * 96),)),
            "measurements-recompute",
            ConditionState.UNMET,
        ),
        (
            replace(perfect(), measurements=(measured(coverage=frozenset({"ovmf"})),)),
            "measurement-covers-what-boots",
            ConditionState.UNMET,
        ),
        (
            replace(perfect(), measurements=(measured(boot_mode=BootMode.UEFI_DISK),)),
            "measurement-covers-what-boots",
            ConditionState.UNMET,
        ),
        (
            replace(perfect(), measurements=(measured(katana_inside_initrd=None),)),
            "measurement-covers-what-boots",
            ConditionState.UNKNOWN,
        ),
        (
            replace(perfect(), results=(operator("one"), operator("two", opaque=(OPAQUE,)))),
            "opaque-inputs-accepted",
            ConditionState.UNMET,
        ),
    ],
)
def test_each_missing_piece_denies_and_is_named(
    evidence: ReleaseEvidence, condition: str, state: ConditionState
) -> None:
    verdict = judge(evidence)
    assert verdict.decision is Decision.DENY
    assert {entry.key: entry.state for entry in verdict.conditions}[condition] is state
    reasons = verdict.sentence.rsplit("Deny", 1)[1]
    if [entry.key for entry in verdict.unmet] == ["opaque-inputs-accepted"]:
        assert reasons == " unless the policy accepts this digest."
    else:
        assert all(words in reasons for words in in_short(verdict.unmet, evidence))


def test_an_opaque_input_accepted_by_digest_no_longer_denies() -> None:
    evidence = replace(
        perfect(),
        results=(operator("one", opaque=(OPAQUE,)), operator("two")),
        policy=Policy(2, frozenset({OPAQUE.digest})),
    )
    assert judge(evidence).decision is Decision.ALLOW


def test_an_opaque_file_of_the_publication_denies_before_and_after_a_rebuild_until_it_is_accepted() -> None:
    for results in ((), perfect().results):
        evidence = replace(perfect(), results=results, embedded=(OPAQUE,))
        condition = judge(evidence).conditions[-1]
        assert (condition.key, condition.state) == ("opaque-inputs-accepted", ConditionState.UNMET)
        assert "initrd: bin/blob" in condition.sentence
    accepted = Policy(2, frozenset({OPAQUE.digest}))
    assert judge(replace(perfect(), embedded=(OPAQUE,), policy=accepted)).decision is Decision.ALLOW
    unbuilt = judge(replace(perfect(), results=(), embedded=(OPAQUE,), policy=accepted))
    assert unbuilt.conditions[-1].state is ConditionState.UNKNOWN


def test_a_published_measurement_of_an_unknown_configuration_is_not_called_unpublished() -> None:
    verdict = judge(replace(perfect(), measurements=(), unplaced=("One is published, of what is unknown.",)))
    sentences = [condition.sentence for condition in verdict.unmet]
    assert sentences == ["One is published, of what is unknown."] * 2
    assert verdict.decision is Decision.DENY


def test_firmware_only_coverage_is_said_out_loud() -> None:
    verdict = judge(replace(perfect(), measurements=(measured(coverage=frozenset({"ovmf"})),)))
    assert "covers firmware only: another kernel, initrd or command line" in verdict.sentence


def test_nobody_has_rebuilt_it_is_no_outcome_and_no_mismatch() -> None:
    verdict = judge(replace(perfect(), results=()))
    assert verdict.outcome is None
    assert "Not rebuilt yet: 0 of 2" in verdict.sentence


values = st.one_of(st.none(), st.sampled_from(["a" * 96, "b" * 96]))


@given(values, values, values)
def test_a_measurement_matches_only_when_all_three_are_known_and_equal(
    published: str | None, recomputed: str | None, rebuilt: str | None
) -> None:
    state = judge_measurement(published, recomputed, rebuilt)
    three = [published, recomputed, rebuilt]
    assert (state is MeasurementState.MATCHES) == (None not in three and len(set(three)) == 1)
    assert (state is MeasurementState.DIFFERS) == (len(set(three) - {None}) > 1)


attestation_states = st.sampled_from(AttestationState).map(attested)
evidences = st.builds(
    ReleaseEvidence,
    commit=st.just("c" * 40),
    components=st.lists(st.sampled_from(Role), unique=True).map(lambda roles: tuple(honest(role) for role in roles)),
    contradictions=st.sampled_from([(), ("kernel: x.",)]),
    absent=st.sampled_from([(), ("disk: y.",)]),
    attestations=st.dictionaries(st.sampled_from(Role), attestation_states),
    results=st.lists(
        st.builds(operator, st.sampled_from(["one", "two", "three"]), st.sampled_from("ab"), counts=st.booleans()),
        max_size=3,
        unique_by=lambda result: result.operator,
    ).map(tuple),
    measurements=st.lists(st.builds(measured, published=values, recomputed=values, rebuilt=values), max_size=2).map(
        tuple
    ),
    policy=st.builds(Policy, st.integers(1, 3), st.just(frozenset())),
)


@given(evidences)
def test_allow_is_never_said_with_anything_unknown_or_broken(evidence: ReleaseEvidence) -> None:
    verdict = judge(evidence)
    assert (verdict.decision is Decision.ALLOW) == (verdict.unmet == ())
    if verdict.decision is Decision.ALLOW:
        assert not evidence.contradictions
        assert not evidence.absent
        assert all(
            evidence.attestations.get(component.role) == attested(AttestationState.VERIFIED)
            for component in evidence.components
        )
        agreeing = {r.operator for r in evidence.results if r.counts and r.outcome is RebuildOutcome.REPRODUCED}
        assert len(agreeing) >= evidence.policy.needed_operators
        assert all(entry.state is MeasurementState.MATCHES for entry in evidence.measurements)


@given(evidences)
def test_one_contradicting_operator_makes_the_outcome_mismatched(evidence: ReleaseEvidence) -> None:
    contradicted = any(r.counts and r.outcome is RebuildOutcome.MISMATCHED for r in evidence.results)
    assert (judge(evidence).outcome is RebuildOutcome.MISMATCHED) == contradicted


def test_a_wrong_signer_is_told_in_words_and_called_hostile() -> None:
    wrong = AttestedComponent(AttestationState.WRONG_IDENTITY, "expected A, found B.")
    good = attested(AttestationState.VERIFIED)
    verdict = judge(replace(perfect(), attestations={**dict.fromkeys(Role, good), Role.INITRD: wrong}))
    assert verdict.decision is Decision.DENY
    assert "initrd: expected A, found B. Treat as hostile until explained." in verdict.sentence


def test_nothing_signed_is_another_sentence_than_nothing_asked() -> None:
    absent = judge(replace(perfect(), attestations=dict.fromkeys(Role, attested(AttestationState.ABSENT))))
    unchecked = judge(replace(perfect(), attestations={}))
    assert "nothing signed shows who published it" in absent.sentence
    assert "nothing signed" not in unchecked.sentence
    assert absent.decision is unchecked.decision is Decision.DENY


@given(evidences)
def test_a_release_is_attested_only_as_well_as_its_worst_component(evidence: ReleaseEvidence) -> None:
    attestation = judge(evidence).attestation
    states = set(evidence.attestation_states.values())
    assert (attestation is None) == (not states)
    assert attestation is None or attestation in states
    assert (attestation is AttestationState.VERIFIED) == (states == {AttestationState.VERIFIED})
    if AttestationState.WRONG_IDENTITY in states:
        assert attestation is AttestationState.WRONG_IDENTITY


def test_a_measurement_that_nobody_could_recompute_is_unknown_and_not_firmware_only() -> None:
    lost = measured(recomputed=None, coverage=frozenset())
    verdict = judge(replace(perfect(), measurements=(lost,)))
    assert "could not be recomputed" in verdict.sentence
    assert "firmware only" not in verdict.sentence
    states = {condition.key: condition.state for condition in verdict.conditions}
    assert states["measurement-covers-what-boots"] is ConditionState.UNKNOWN


@pytest.mark.parametrize("stale", ["Whether it changed on GitHub since yesterday is not known."])
def test_a_release_that_nobody_can_watch_is_denied_until_somebody_can(stale: str) -> None:
    verdict = judge(replace(perfect(), unwatched=stale))
    assert verdict.decision is Decision.DENY
    assert stale in verdict.sentence
    assert [(entry.key, entry.state) for entry in verdict.unmet] == [("files-match-manifest", ConditionState.UNKNOWN)]


def test_a_component_that_the_manifest_does_not_name_leaves_its_files_unknown() -> None:
    disk = replace(honest(Role.DISK), claimed=None)
    verdict = judge(replace(perfect(), components=(*(honest(role) for role in Role if role is not Role.DISK), disk)))
    (entry,) = verdict.unmet
    assert (entry.key, entry.state) == ("files-match-manifest", ConditionState.UNKNOWN)
    assert entry.sentence == "The manifest does not name: disk."
