"""The verdict in plain words: one paragraph, composed from the evidence, that ends with the decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builds.domain.comparison import RebuildOutcome
from builds.domain.consensus import agreed_digests, contradicting, environment_difference, tally_of
from builds.domain.evidence import (
    COVERABLE,
    AttestationState,
    MeasurementEvidence,
    MeasurementState,
    OperatorResult,
    ReleaseEvidence,
)
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
    tally = tally_of(evidence)
    match outcome:
        case None:
            tried = f" {tally.failed} tried and failed, which is no mismatch." if tally.failed else ""
            return f"Not rebuilt yet: 0 of {tally.needed} needed operators.{tried}"
        case RebuildOutcome.REPRODUCED:
            return (
                f"{tally.reproduced} of {tally.counted} independent operators ({tally.needed} needed) rebuilt every"
                f" component from commit {evidence.commit} with the same bytes."
            )
        case _ if tally.reproduced:
            return _dispute(evidence)
        case _:
            return f"{_reproduced_by_all(counted)}{_not_reproduced(counted, evidence.commit)}"


def _dispute(evidence: ReleaseEvidence) -> str:
    """Who got other bytes than those who reproduced it, of what, and how their machines differ."""
    against = contradicting(evidence.counted)
    agreeing = [result for result in evidence.counted if result.outcome is RebuildOutcome.REPRODUCED]
    named = "; ".join(f"{result.operator}: {', '.join(result.differing)}" for result in against)
    apart = environment_difference(against[0].environment, agreeing[0].environment)
    differ = "; ".join(apart) if apart else "in nothing that they name"
    return (
        f"Disputed: {tally_of(evidence).words} ({named}). The environments of {against[0].operator} and"
        f" {agreeing[0].operator} differ: {differ}."
    )


def _reproduced_by_all(counted: Sequence[OperatorResult]) -> str:
    same = set.intersection(
        *({row.role for row in result.comparisons if row.outcome is RebuildOutcome.REPRODUCED} for result in counted)
    )
    return f"Reproduced: {_listed(role for role in Role if role in same)}. " if same else ""


def _not_reproduced(counted: Sequence[OperatorResult], commit: str) -> str:
    """What nobody reproduced, and whether those who tried agree with each other against the publisher."""
    differing = sorted({text for result in counted for text in result.differing})
    sentence = f"Not reproduced from commit {commit}: {', '.join(differing)}."
    if len(counted) == 1:
        return sentence
    agreed = agreed_digests(counted)
    unlike = [row.role for result in counted for row in result.comparisons if agreed[row.role] is None]
    if not unlike:
        return f"{sentence} {len(counted)} of {len(counted)} operators agree with each other, not with the publisher."
    return f"{sentence} The operators do not agree with each other either ({_listed(dict.fromkeys(unlike))})."


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
