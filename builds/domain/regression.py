"""When a release is worse than the one before it, and when it is worse than it was itself: in words."""

from __future__ import annotations

from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.release_filters import Standing
from builds.domain.verdict import Decision

NO_LONGER_REPRODUCED = "It was reproduced once and is not any more."

_BAD_OUTCOMES = {RebuildOutcome.MISMATCHED, RebuildOutcome.MISSING}
_BAD_ATTESTATIONS = {
    AttestationState.WRONG_IDENTITY,
    AttestationState.REJECTED,
    AttestationState.UNREADABLE,
    AttestationState.ABSENT,
}


def worse_than(before: Standing, now: Standing, tag: str) -> str:
    """What is worse than in the release ``tag`` before it, as a sentence; "" when nothing is.

    What is not known yet is not worse: a release that nobody has rebuilt so far is no regression.
    """
    found = []
    if before.outcome == RebuildOutcome.REPRODUCED and now.outcome in _BAD_OUTCOMES:
        found.append(f"its files are {now.outcome}, those of {tag} were reproduced")
    if before.attestation == AttestationState.VERIFIED and now.attestation in _BAD_ATTESTATIONS:
        found.append(f"its attestation is {now.attestation}, that of {tag} was verified")
    if before.measurement == MeasurementState.MATCHES and now.measurement == MeasurementState.DIFFERS:
        found.append(f"its launch measurement differs, that of {tag} matched")
    denied_after_allowed = (before.decision, now.decision) == (Decision.ALLOW, Decision.DENY)
    if not found and denied_after_allowed and now.outcome:
        found.append(f"it is denied, {tag} was allowed")
    sentence = "; ".join(found)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def change_words(before: Standing | None, now: Standing) -> str:
    """How a verdict changed, as clauses; "" when none of its axes did. Without one before, it is the first."""
    if before is None:
        return "first verdict"
    changes = [
        f"{name} {new or 'not known'}, was {old or 'not known'}"
        for name, old, new in (
            ("decision", before.decision, now.decision),
            ("rebuilt files", before.outcome, now.outcome),
            ("attestation", before.attestation, now.attestation),
            ("launch measurement", before.measurement, now.measurement),
        )
        if old != new
    ]
    return "; ".join(changes)
