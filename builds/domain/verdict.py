"""The verdict of a release: derived from evidence by pure functions, never stored by hand.

Conditions (a) to (f) follow the product's rule that all must hold and that unknown denies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import Condition, ConditionState, conditions_of
from builds.domain.consensus import Tally, tally_of
from builds.domain.evidence import AttestationState, OperatorResult, ReleaseEvidence, worst_attestation
from builds.domain.sentence import compose


class Decision(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class ReleaseVerdict:
    """The decision, the conditions it follows from, and a text that ends with it."""

    decision: Decision
    outcome: RebuildOutcome | None
    tally: Tally
    attestation: AttestationState | None
    """The most alarming state of all components; None when there is none."""
    conditions: tuple[Condition, ...]
    paragraphs: tuple[str, ...]
    """The text, one paragraph for each axis; the last is the decision with its reasons."""

    @property
    def sentence(self) -> str:
        """The whole text in one line, as the API gives it and records keep it."""
        return " ".join(self.paragraphs)

    @property
    def unmet(self) -> tuple[Condition, ...]:
        return tuple(condition for condition in self.conditions if condition.state is not ConditionState.MET)


def judge(evidence: ReleaseEvidence) -> ReleaseVerdict:
    """Derive the verdict; every unmet or unknown condition denies and is named."""
    conditions = conditions_of(evidence)
    unmet = [condition for condition in conditions if condition.state is not ConditionState.MET]
    outcome = release_outcome(evidence.counted)
    return ReleaseVerdict(
        decision=Decision.DENY if unmet else Decision.ALLOW,
        outcome=outcome,
        tally=tally_of(evidence),
        attestation=worst_attestation(evidence.attestation_states.values()),
        conditions=conditions,
        paragraphs=compose(evidence, outcome, unmet),
    )


def release_outcome(results: Iterable[OperatorResult]) -> RebuildOutcome | None:
    """Over all operators: one contradiction is enough; None while nobody has rebuilt it."""
    outcomes = {result.outcome for result in results}
    for outcome in (RebuildOutcome.MISMATCHED, RebuildOutcome.MISSING, RebuildOutcome.REPRODUCED):
        if outcome in outcomes:
            return outcome
    return None
