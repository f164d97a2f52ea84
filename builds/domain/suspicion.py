"""Published files that the evidence speaks against: replaced after the manifest, or never made by the build.

A build that is not deterministic gives each operator other bytes; where all of them agree, the published file is the
odd one, and its publisher must not be advised as if a time stamp were to blame.
"""

from __future__ import annotations

from builds.domain.comparison import PublishedComponent, RebuildOutcome
from builds.domain.consensus import unlike_roles
from builds.domain.evidence import ReleaseEvidence
from builds.domain.roles import Role


def replaced_files(evidence: ReleaseEvidence) -> list[Role]:
    """Files that are not what their manifest says, while whoever rebuilt them got what it says."""
    return [
        component.role
        for component in evidence.components
        if component.contradicts_manifest and _rebuilt_as_claimed(component, evidence)
    ]


def agreed_otherwise(evidence: ReleaseEvidence) -> list[Role]:
    """What two operators or more rebuilt with the same bytes, none of them with the published ones."""
    counted = evidence.counted
    unlike = unlike_roles(counted)
    by_role: dict[Role, set[RebuildOutcome]] = {}
    for row in (row for result in counted for row in result.comparisons):
        by_role.setdefault(row.role, set()).add(row.outcome)
    differing = {role for role, outcomes in by_role.items() if outcomes == {RebuildOutcome.MISMATCHED}}
    return [role for role in Role if role in differing - unlike] if len(counted) > 1 else []


def suspect_files(evidence: ReleaseEvidence) -> set[Role]:
    """Files that nobody should sign as they are published."""
    contradicting = {component.role for component in evidence.components if component.contradicts_manifest}
    return contradicting | set(agreed_otherwise(evidence))


def _rebuilt_as_claimed(component: PublishedComponent, evidence: ReleaseEvidence) -> bool:
    """Whether there is a rebuild of it, and each gave the digest that the manifest says of the content."""
    rows = [row for result in evidence.counted for row in result.comparisons if row.role is component.role]
    return bool(rows) and all(row.rebuilt is not None and row.rebuilt == component.claimed for row in rows)
