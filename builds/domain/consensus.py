"""What several operators' results say together: who counts, who agrees with whom, and what tells them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from builds.domain.comparison import RebuildOutcome
from builds.domain.digest import Digest
from builds.domain.evidence import OperatorResult, ReleaseEvidence
from builds.domain.roles import Role


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """What decides whether one result counts. Texts are empty where there is nothing to say."""

    signed_at: datetime | None
    """When the signed statement was received; None for a result that nobody signed."""
    used_network: bool
    other_materials: bool
    operator_accepted: bool
    affiliation: str
    """The operator's tie to the publisher of this project."""
    key_accepted: bool
    key_revoked_at: datetime | None
    set_aside: str
    """An administrator's public reason not to count it, with its date."""

    @property
    def not_counted(self) -> str:
        """Why the result is no evidence, as a sentence; "" when it counts."""
        if self.signed_at is None:
            return "Nobody signed it."
        if self.set_aside:
            return f"Set aside: {self.set_aside}"
        if self.key_revoked_at is not None and self.signed_at >= self.key_revoked_at:
            return f"It came after its key was revoked ({self.key_revoked_at:%Y-%m-%d %H:%M} UTC)."
        if self.used_network:
            return "The recipe asks for the network."
        if self.other_materials:
            return "It was built from other materials than the release's lock names."
        return standing_of(self.operator_accepted, self.key_accepted, self.affiliation)


def standing_of(operator_accepted: bool, key_accepted: bool, affiliation: str) -> str:
    """Why nothing that an operator signs with a key counts for a project; "" when it does.

    Failures are no reason: who tries and fails is as welcome as who never tried.
    """
    if not operator_accepted:
        return "The operator is pending: no administrator has said who it is."
    if not key_accepted:
        return "The key is pending: nobody has vouched for it."
    if affiliation:
        return f"The operator is tied to the publisher: {affiliation}"
    return ""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many distinct operators got the published bytes, got others, and failed to get any."""

    needed: int
    reproduced: int
    contradicting: int
    failed: int

    @property
    def counted(self) -> int:
        return self.reproduced + self.contradicting

    @property
    def words(self) -> str:
        return f"{self.reproduced} of {self.counted} reproduced, {self.contradicting} contradict, {self.failed} failed"


def tally_of(evidence: ReleaseEvidence) -> Tally:
    """Over distinct operators with one result each; a failed build is neither agreement nor contradiction."""
    counted = evidence.counted
    reproduced = sum(result.outcome is RebuildOutcome.REPRODUCED for result in counted)
    return Tally(evidence.policy.needed_operators, reproduced, len(counted) - reproduced, evidence.failed)


def component_tallies(evidence: ReleaseEvidence) -> Mapping[Role, Tally]:
    """As ``tally_of``, for each published component by itself; whoever did not make it contradicts."""
    counted = evidence.counted
    got = {
        (row.role, result.operator)
        for result in counted
        for row in result.comparisons
        if row.outcome is RebuildOutcome.REPRODUCED
    }
    return {
        component.role: Tally(
            evidence.policy.needed_operators,
            reproduced := sum((component.role, result.operator) in got for result in counted),
            len(counted) - reproduced,
            evidence.failed,
        )
        for component in evidence.components
    }


def contradicting(results: Iterable[OperatorResult]) -> list[OperatorResult]:
    return [result for result in results if result.outcome is not RebuildOutcome.REPRODUCED]


def unlike_roles(results: Iterable[OperatorResult]) -> set[Role]:
    """Components of which not all results gave the same; that all lack one is the same too."""
    found: dict[Role, set[Digest | None]] = defaultdict(set)
    for result in results:
        for row in result.comparisons:
            found[row.role].add(row.rebuilt)
    return {role for role, digests in found.items() if len(digests) > 1}


def environment_difference(one: Mapping[str, str | int], other: Mapping[str, str | int]) -> list[str]:
    """What two environments name differently, as ``kernel: 6.1 and 6.5``; a name that one lacks reads ``unknown``."""
    return [
        f"{name}: {one.get(name, 'unknown')} and {other.get(name, 'unknown')}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]
