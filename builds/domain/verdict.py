"""The verdict of a release: derived from evidence by pure functions, never stored by hand.

Conditions (a) to (f) follow the product's rule that all must hold and that unknown denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from builds.domain.comparison import ComponentComparison, PublishedComponent, RebuildOutcome
from builds.domain.digest import Digest
from builds.domain.roles import BootMode, Role


class MeasurementState(StrEnum):
    """Whether a launch measurement as published, recomputed and rebuilt is one and the same."""

    MATCHES = "matches"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


class AttestationState(StrEnum):
    """Who published a component, as far as signatures say."""

    VERIFIED = "verified"
    REJECTED = "rejected"
    WRONG_IDENTITY = "wrong-identity"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class AttestedComponent:
    """A component's attestation state, and the sentence that says why."""

    state: AttestationState
    sentence: str


class Decision(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class ConditionState(StrEnum):
    """A condition holds, is broken by evidence, or cannot be told; only the first allows."""

    MET = "met"
    UNMET = "unmet"
    UNKNOWN = "unknown"


# What a launch measurement can bind, in the order of pages: three files and the command line.
COVERABLE = ("ovmf", "kernel", "initrd", "cmdline")

_FIRMWARE_ONLY = frozenset({"ovmf"})


def judge_measurement(published: str | None, recomputed: str | None, rebuilt: str | None) -> MeasurementState:
    """``matches`` only when all three are known and equal; two known unequal values already differ."""
    known = {value for value in (published, recomputed, rebuilt) if value is not None}
    if len(known) > 1:
        return MeasurementState.DIFFERS
    if None in (published, recomputed, rebuilt):
        return MeasurementState.UNKNOWN
    return MeasurementState.MATCHES


@dataclass(frozen=True, slots=True)
class MeasurementEvidence:
    """One launch configuration's measurement, 96 hex characters each or None when not known."""

    configuration: str
    boot_mode: BootMode
    published: str | None
    recomputed: str | None
    rebuilt: str | None
    coverage: frozenset[str]
    katana_inside_initrd: str | None
    """Where in the reproduced initrd the reproduced binary lies; None when nothing has shown that."""

    @property
    def state(self) -> MeasurementState:
        return judge_measurement(self.published, self.recomputed, self.rebuilt)

    @property
    def covers_what_it_boots(self) -> bool:
        """Whether every part this configuration boots is bound by the measurement."""
        needed = set(COVERABLE) if self.boot_mode is BootMode.DIRECT_KERNEL else {*COVERABLE, Role.DISK.value}
        return needed <= self.coverage


@dataclass(frozen=True, slots=True)
class OpaqueInput:
    """An input nobody rebuilt: where it is in the release, its digest and why it is opaque."""

    place: str
    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """The newest succeeded rebuild of one operator; ``counts`` is False when the recipe used the network."""

    operator: str
    comparisons: tuple[ComponentComparison, ...]
    outcome: RebuildOutcome | None
    counts: bool
    opaque: tuple[OpaqueInput, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the project asks for: ``k`` distinct operators, and opaque inputs accepted by digest."""

    needed_operators: int
    accepted_opaque: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class ReleaseEvidence:
    """Everything a verdict is derived from."""

    commit: str
    components: tuple[PublishedComponent, ...]
    contradictions: tuple[str, ...]
    absent: tuple[str, ...]
    attestations: Mapping[Role, AttestedComponent]
    results: tuple[OperatorResult, ...]
    measurements: tuple[MeasurementEvidence, ...]
    policy: Policy
    unplaced: tuple[str, ...] = ()
    """Sentences about published measurements of which nothing says what they were computed for."""
    embedded: tuple[OpaqueInput, ...] = ()
    """Published files that nobody can look into and no rebuild has made."""
    changes: tuple[str, ...] = ()
    """What was published differently after it was first seen; it denies until judged anew."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the verdict, named, with its state and the reason in a sentence."""

    key: str
    state: ConditionState
    sentence: str


@dataclass(frozen=True, slots=True)
class ReleaseVerdict:
    """The decision, the conditions it follows from, and one sentence that ends with it."""

    decision: Decision
    outcome: RebuildOutcome | None
    conditions: tuple[Condition, ...]
    sentence: str

    @property
    def unmet(self) -> tuple[Condition, ...]:
        return tuple(condition for condition in self.conditions if condition.state is not ConditionState.MET)


def judge(evidence: ReleaseEvidence) -> ReleaseVerdict:
    """Derive the verdict; every unmet or unknown condition denies and is named."""
    counted = [result for result in evidence.results if result.counts and result.outcome is not None]
    conditions = (
        _files_match_manifest(evidence),
        _attested(evidence),
        _reproduced(counted, evidence.policy),
        _measurements_match(evidence.measurements, evidence.unplaced),
        _measurements_cover(evidence.measurements, evidence.unplaced),
        _opaque_accepted(evidence),
    )
    decision = (
        Decision.ALLOW if all(condition.state is ConditionState.MET for condition in conditions) else Decision.DENY
    )
    outcome = release_outcome(counted)
    sentence = _sentence(evidence, counted, outcome, conditions, decision)
    return ReleaseVerdict(decision=decision, outcome=outcome, conditions=conditions, sentence=sentence)


def release_outcome(results: Iterable[OperatorResult]) -> RebuildOutcome | None:
    """Over all operators: one contradiction is enough; None while nobody has rebuilt it."""
    outcomes = {result.outcome for result in results}
    for outcome in (RebuildOutcome.MISMATCHED, RebuildOutcome.MISSING, RebuildOutcome.REPRODUCED):
        if outcome in outcomes:
            return outcome
    return None


def _files_match_manifest(evidence: ReleaseEvidence) -> Condition:
    key = "files-match-manifest"
    if evidence.contradictions:
        return Condition(key, ConditionState.UNMET, " ".join(evidence.contradictions))
    if evidence.changes:
        changed = "; ".join(evidence.changes)
        return Condition(key, ConditionState.UNMET, f"Changed since it was first seen: {changed}.")
    if evidence.absent:
        return Condition(key, ConditionState.UNKNOWN, " ".join(evidence.absent))
    if not any(component.claimed is not None for component in evidence.components):
        return Condition(key, ConditionState.UNKNOWN, "The manifest names no component.")
    return Condition(key, ConditionState.MET, "Every published file hashes to its manifest.")


def _attested(evidence: ReleaseEvidence) -> Condition:
    key = "attested-by-expected-publisher"
    states = {component.role: _attestation_state(evidence, component.role) for component in evidence.components}
    open_roles = {role: state for role, state in states.items() if state is not AttestationState.VERIFIED}
    if not states:
        return Condition(key, ConditionState.UNKNOWN, "There is no component to attest.")
    if not open_roles:
        return Condition(key, ConditionState.MET, "The expected publisher attested every component.")
    hostile = {AttestationState.REJECTED, AttestationState.WRONG_IDENTITY, AttestationState.ABSENT}
    state = ConditionState.UNMET if hostile & set(open_roles.values()) else ConditionState.UNKNOWN
    listed = ", ".join(f"{role} {found}" for role, found in open_roles.items())
    return Condition(key, state, f"Attestations: {listed}.")


def _attestation_state(evidence: ReleaseEvidence, role: Role) -> AttestationState:
    found = evidence.attestations.get(role)
    return found.state if found is not None else AttestationState.UNCHECKED


def _reproduced(counted: list[OperatorResult], policy: Policy) -> Condition:
    key = "reproduced-by-enough-operators"
    contradicting = [result for result in counted if result.outcome is not RebuildOutcome.REPRODUCED]
    agreeing = len(counted) - len(contradicting)
    if contradicting:
        named = "; ".join(f"{result.operator}: {', '.join(_differing(result))}" for result in contradicting)
        return Condition(
            key, ConditionState.UNMET, f"{len(contradicting)} of {len(counted)} operators contradict ({named})."
        )
    count = f"{agreeing} of {policy.needed_operators} needed operators reproduced every component."
    state = ConditionState.MET if agreeing >= policy.needed_operators else ConditionState.UNKNOWN
    return Condition(key, state, count)


def _differing(result: OperatorResult) -> list[str]:
    return [f"{row.role} {row.outcome}" for row in result.comparisons if row.outcome is not RebuildOutcome.REPRODUCED]


def _measurements_match(measurements: tuple[MeasurementEvidence, ...], unplaced: tuple[str, ...]) -> Condition:
    key = "measurements-recompute"
    if not measurements:
        return Condition(key, ConditionState.UNKNOWN, " ".join(unplaced) or "No launch measurement was published.")
    differing = [entry.configuration for entry in measurements if entry.state is MeasurementState.DIFFERS]
    if differing:
        return Condition(key, ConditionState.UNMET, f"The launch measurement differs for: {', '.join(differing)}.")
    unknown = [entry.configuration for entry in measurements if entry.state is MeasurementState.UNKNOWN]
    if unknown:
        return Condition(
            key,
            ConditionState.UNKNOWN,
            f"The launch measurement is not yet known three ways for: {', '.join(unknown)}.",
        )
    return Condition(key, ConditionState.MET, "Each launch measurement is equal as published, recomputed and rebuilt.")


def _measurements_cover(measurements: tuple[MeasurementEvidence, ...], unplaced: tuple[str, ...]) -> Condition:
    key = "measurement-covers-what-boots"
    if not measurements:
        return Condition(key, ConditionState.UNKNOWN, " ".join(unplaced) or "No launch measurement was published.")
    for entry in measurements:
        if not entry.covers_what_it_boots:
            covered = ", ".join(sorted(entry.coverage)) or "nothing"
            return Condition(
                key, ConditionState.UNMET, f"The measurement of {entry.configuration} covers only: {covered}."
            )
        if entry.katana_inside_initrd is None:
            return Condition(
                key, ConditionState.UNKNOWN, "No rebuild has shown that the covered initrd holds the katana binary."
            )
    return Condition(
        key, ConditionState.MET, "The measurement covers firmware, kernel, initrd with katana, and command line."
    )


def _opaque_accepted(evidence: ReleaseEvidence) -> Condition:
    """Opaque files that came with the publication count before any rebuild has looked for origins."""
    key = "opaque-inputs-accepted"
    found = [*evidence.embedded, *(entry for result in evidence.results for entry in result.opaque)]
    open_inputs = {
        (entry.place, str(entry.digest)) for entry in found if entry.digest not in evidence.policy.accepted_opaque
    }
    if open_inputs:
        listed = "; ".join(f"{place} ({digest})" for place, digest in sorted(open_inputs))
        return Condition(key, ConditionState.UNMET, f"Opaque inputs nobody rebuilt from source: {listed}.")
    if not evidence.results:
        return Condition(key, ConditionState.UNKNOWN, "Origins are known only after a rebuild.")
    return Condition(key, ConditionState.MET, "No opaque input remains unaccepted.")


def _sentence(
    evidence: ReleaseEvidence,
    counted: list[OperatorResult],
    outcome: RebuildOutcome | None,
    conditions: tuple[Condition, ...],
    decision: Decision,
) -> str:
    """One paragraph: what rebuilding showed, what the measurement binds, and the decision with its reasons."""
    parts = []
    if evidence.contradictions:
        parts.append("The published files contradict their own manifest. " + " ".join(evidence.contradictions))
    if evidence.changes:
        parts.append("What is published now is not what was first seen here, and what was first seen is judged.")
    parts.append(_rebuild_sentence(evidence, counted, outcome))
    parts.extend(_attestation_sentences(evidence))
    parts.extend(_measurement_sentence(entry) for entry in evidence.measurements)
    if decision is Decision.ALLOW:
        parts.append("Allow.")
    else:
        names = ", ".join(c.key for c in conditions if c.state is not ConditionState.MET)
        parts.append(f"Deny: {names}.")
    return " ".join(parts)


def _rebuild_sentence(evidence: ReleaseEvidence, counted: list[OperatorResult], outcome: RebuildOutcome | None) -> str:
    needed = evidence.policy.needed_operators
    match outcome:
        case None:
            return f"Not rebuilt yet: 0 of {needed} needed operators."
        case RebuildOutcome.REPRODUCED:
            return (
                f"{len(counted)} of {len(counted)} operators ({needed} needed) rebuilt every component"
                f" from commit {evidence.commit} with the same bytes."
            )
        case _:
            differing = sorted({text for result in counted for text in _differing(result)})
            same = sorted(
                set.intersection(
                    *(
                        {row.role.value for row in result.comparisons if row.outcome is RebuildOutcome.REPRODUCED}
                        for result in counted
                    )
                )
            )
            same_text = f"Reproduced: {', '.join(same)}. " if same else ""
            return f"{same_text}Not reproduced from commit {evidence.commit}: {', '.join(differing)}."


def _attestation_sentences(evidence: ReleaseEvidence) -> list[str]:
    """Who published it, most alarming first: hostile signatures, then what is missing; silent while unchecked."""
    by_state: dict[AttestationState, list[Role]] = {}
    for component in evidence.components:
        by_state.setdefault(_attestation_state(evidence, component.role), []).append(component.role)
    sentences = []
    wrong = by_state.get(AttestationState.WRONG_IDENTITY)
    if wrong:
        reason = evidence.attestations[wrong[0]].sentence
        sentences.append(f"{_listed(wrong)}: {reason} Treat as hostile until explained.")
    for state, words in (
        (AttestationState.REJECTED, "an attestation was rejected"),
        (AttestationState.UNREADABLE, "an attestation cannot be read"),
        (AttestationState.ABSENT, "nothing signed shows who published it"),
    ):
        if roles := by_state.get(state):
            sentences.append(f"{_listed(roles)}: {words}.")
    if set(by_state) == {AttestationState.VERIFIED}:
        sentences.append(f"The expected workflow attested every component from commit {evidence.commit}.")
    return sentences


def _listed(roles: Iterable[Role]) -> str:
    return ", ".join(role.value for role in roles)


def _measurement_sentence(entry: MeasurementEvidence) -> str:
    if entry.coverage <= _FIRMWARE_ONLY:
        return (
            f"The measurement of {entry.configuration} covers firmware only: another kernel, initrd or"
            " command line would give the same measurement."
        )
    verb = {
        MeasurementState.MATCHES: "matches",
        MeasurementState.DIFFERS: "differs",
        MeasurementState.UNKNOWN: "is not yet known three ways",
    }[entry.state]
    covered = ", ".join(part for part in COVERABLE if part in entry.coverage)
    return f"The launch measurement of {entry.configuration} {verb}; it covers {covered}."
