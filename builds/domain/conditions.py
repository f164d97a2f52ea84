"""The conditions of a verdict, (a) to (f): all must hold, and unknown does not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builds.domain.consensus import contradicting, tally_of
from builds.domain.evidence import AttestationState, MeasurementEvidence, MeasurementState, OpaqueInput, ReleaseEvidence

MOST_LISTED = 20
"""Of what an operator can name without end, a sentence lists so many and counts the rest."""


class ConditionState(StrEnum):
    """A condition holds, is broken by evidence, or cannot be told; only the first allows."""

    MET = "met"
    UNMET = "unmet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the verdict, named, with its state and the reason in a sentence."""

    key: str
    state: ConditionState
    sentence: str


def conditions_of(evidence: ReleaseEvidence) -> tuple[Condition, ...]:
    """Every condition with its state, in the order of pages."""
    return (
        _files_match_manifest(evidence),
        _attested(evidence),
        _reproduced(evidence),
        _measurements_match(evidence.measurements, evidence.unplaced),
        _measurements_cover(evidence.measurements, evidence.unplaced),
        _opaque_accepted(evidence),
    )


def _files_match_manifest(evidence: ReleaseEvidence) -> Condition:
    key = "files-match-manifest"
    if evidence.contradictions:
        return Condition(key, ConditionState.UNMET, " ".join(evidence.contradictions))
    if evidence.changes:
        changed = "; ".join(evidence.changes)
        return Condition(key, ConditionState.UNMET, f"Changed since it was first seen: {changed}.")
    unknown = unknown_of_files(evidence)
    if unknown:
        return Condition(key, ConditionState.UNKNOWN, " ".join(unknown))
    return Condition(key, ConditionState.MET, "Every published file hashes to its manifest.")


def unknown_of_files(evidence: ReleaseEvidence) -> list[str]:
    """Why nobody can say that every published file is what its publisher named."""
    unknown = [*evidence.absent, *filter(None, [evidence.unwatched])]
    unnamed = [component.role.value for component in evidence.components if component.claimed is None]
    if len(unnamed) == len(evidence.components):
        unknown.append("The manifest names no component.")
    elif unnamed:
        unknown.append(f"The manifest does not name: {', '.join(unnamed)}.")
    return unknown


def _attested(evidence: ReleaseEvidence) -> Condition:
    key = "attested-by-expected-publisher"
    states = evidence.attestation_states
    open_roles = {role: state for role, state in states.items() if state is not AttestationState.VERIFIED}
    if not states:
        return Condition(key, ConditionState.UNKNOWN, "There is no component to attest.")
    if not open_roles:
        return Condition(key, ConditionState.MET, "The expected publisher attested every component.")
    hostile = {AttestationState.REJECTED, AttestationState.WRONG_IDENTITY, AttestationState.ABSENT}
    state = ConditionState.UNMET if hostile & set(open_roles.values()) else ConditionState.UNKNOWN
    listed = ", ".join(f"{role} {found}" for role, found in open_roles.items())
    return Condition(key, state, f"Attestations: {listed}.")


def _reproduced(evidence: ReleaseEvidence) -> Condition:
    key = "reproduced-by-enough-operators"
    tally = tally_of(evidence)
    against = contradicting(evidence.counted)
    if against:
        named = "; ".join(f"{result.operator}: {', '.join(result.differing)}" for result in against)
        word = "Disputed" if tally.reproduced else "Contradicted"
        return Condition(key, ConditionState.UNMET, f"{word}: {tally.words} ({named}).")
    state = ConditionState.MET if tally.reproduced >= tally.needed else ConditionState.UNKNOWN
    return Condition(key, state, f"{tally.words}; {tally.needed} operators are needed.")


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
        if not entry.coverage:
            what = f"What the measurement of {entry.configuration} covers is unknown: it could not be recomputed."
            return Condition(key, ConditionState.UNKNOWN, what)
        if not entry.covers_what_it_boots:
            covered = ", ".join(sorted(entry.coverage))
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


def open_opaque(evidence: ReleaseEvidence) -> list[OpaqueInput]:
    """Opaque inputs that the policy does not accept."""
    return [entry for entry in evidence.opaque if entry.digest not in evidence.policy.accepted_opaque]


def _opaque_accepted(evidence: ReleaseEvidence) -> Condition:
    """Opaque files that came with the publication count before any rebuild has looked for origins."""
    key = "opaque-inputs-accepted"
    open_inputs = {(entry.place, str(entry.digest)) for entry in open_opaque(evidence)}
    if open_inputs:
        listed = "; ".join(f"{place} ({digest})" for place, digest in sorted(open_inputs)[:MOST_LISTED])
        more = f"; and {len(open_inputs) - MOST_LISTED} more" if len(open_inputs) > MOST_LISTED else ""
        return Condition(key, ConditionState.UNMET, f"Opaque inputs nobody rebuilt from source: {listed}{more}.")
    if evidence.base_unnamed:
        what = "The recipe pulls a base image, and which one is not known here. Import the release again."
        return Condition(key, ConditionState.UNKNOWN, what)
    if not evidence.counted:
        return Condition(key, ConditionState.UNKNOWN, "Origins are known only after a rebuild.")
    return Condition(key, ConditionState.MET, "No opaque input remains unaccepted.")
