"""The verdict in plain words: one paragraph, composed from the evidence, that ends with the decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import COVERABLE, AttestationState, MeasurementEvidence, MeasurementState, ReleaseEvidence
from builds.domain.roles import Role

_FIRMWARE_ONLY = frozenset({"ovmf"})


def compose(evidence: ReleaseEvidence, outcome: RebuildOutcome | None, unmet: Sequence[str]) -> str:
    """What rebuilding showed, who published it, what the measurement binds, and the decision.

    ``unmet`` names the conditions that do not hold; without any the decision is to allow.
    """
    parts = []
    if evidence.contradictions:
        parts.append("The published files contradict their own manifest. " + " ".join(evidence.contradictions))
    if evidence.changes:
        parts.append("What is published now is not what was first seen here, and what was first seen is judged.")
    if evidence.unwatched:
        parts.append(evidence.unwatched)
    parts.append(_rebuild_sentence(evidence, outcome))
    parts.extend(_attestation_sentences(evidence))
    parts.extend(_measurement_sentence(entry) for entry in evidence.measurements)
    parts.append(f"Deny: {', '.join(unmet)}." if unmet else "Allow.")
    return " ".join(parts)


def _rebuild_sentence(evidence: ReleaseEvidence, outcome: RebuildOutcome | None) -> str:
    counted = evidence.counted
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
            differing = sorted({text for result in counted for text in result.differing})
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
    for role, state in evidence.attestation_states.items():
        by_state.setdefault(state, []).append(role)
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
    if not entry.coverage:
        return f"The launch measurement of {entry.configuration} could not be recomputed from the published files."
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
