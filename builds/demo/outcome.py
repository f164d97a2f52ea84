"""What came of the demo: the report for scripts, and what should have come out otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from django.utils import timezone

from attestations.services.standing import ReleaseStanding
from builds.demo.operators import NAMES
from builds.demo.story import CONTRADICTING, HONEST, IMPOSTOR, TAMPERED
from builds.domain.comparison import RebuildOutcome
from builds.domain.evidence import COVERABLE, AttestationState, MeasurementState
from builds.domain.roles import Role
from builds.domain.verdict import Decision
from builds.services.consensus import Result
from builds.services.evidence import ReleaseView

type Judged = tuple[ReleaseView, ReleaseStanding]


def report(judged: Mapping[str, Judged]) -> dict[str, object]:
    """What ``verdicts.json`` holds: the rebuilt releases, the one that contradicts itself, the impostor's."""
    contradicting, _ = judged[CONTRADICTING]
    return {
        "releases": [_release_report(*judged[tag]) for tag in (HONEST, TAMPERED)],
        "contradicting": [
            {
                "tag": contradicting.release.tag,
                "commit": contradicting.release.commit,
                "contradictions": [notice.sentence for notice in contradicting.notices],
                "results": len(contradicting.results),
                "attestations": attestation_states(judged[CONTRADICTING][1]),
            }
        ],
        "impostor": [_release_report(*judged[IMPOSTOR])],
        "written_at": timezone.now().isoformat(),
    }


def attestation_states(standing: ReleaseStanding) -> dict[str, str]:
    """Each component's attestation state by its role."""
    return {role.value: entry.state.value for role, entry in standing.by_role.items()}


def _release_report(view: ReleaseView, standing: ReleaseStanding) -> dict[str, object]:
    rebuild = view.newest
    seconds = None
    if rebuild is not None and rebuild.started_at is not None and rebuild.finished_at is not None:
        seconds = round((rebuild.finished_at - rebuild.started_at).total_seconds(), 1)
    rows = [row.comparison for row in view.components if row.comparison is not None]
    return {
        "tag": view.release.tag,
        "commit": view.release.commit,
        "outcome": view.verdict.outcome.value if view.verdict.outcome is not None else None,
        "decision": view.verdict.decision.value,
        "components": [
            {
                "role": row.role.value,
                "algorithm": row.algorithm.value,
                "published": str(row.published) if row.published is not None else None,
                "rebuilt": str(row.rebuilt) if row.rebuilt is not None else None,
                "outcome": row.outcome.value,
            }
            for row in rows
        ],
        "measurements": [
            {
                "published": row.evidence.published,
                "recomputed": row.evidence.recomputed,
                "rebuilt": row.evidence.rebuilt,
                "outcome": row.evidence.state.value,
                "boot_mode": row.evidence.boot_mode.value,
                "coverage": [part for part in COVERABLE if part in row.evidence.coverage],
            }
            for row in view.measurements
        ],
        "attestations": attestation_states(standing),
        "rebuild_seconds": seconds,
        "tally": {
            "needed": view.verdict.tally.needed,
            "reproduced": view.verdict.tally.reproduced,
            "contradicting": view.verdict.tally.contradicting,
            "failed": view.verdict.tally.failed,
        },
        "operators": {result.rebuild.operator_name: _word(result) for result in view.results if result.counts},
    }


def _word(result: Result) -> str | None:
    outcome = result.evidence.outcome
    return outcome.value if outcome is not None else None


def unexpected(judged: Mapping[str, Judged]) -> list[str]:
    """What did not come out as it must; empty when every verdict is the expected one."""
    honest, tampered, contradicting = (judged[tag][0] for tag in (HONEST, TAMPERED, CONTRADICTING))
    return [*_unexpected_rebuilds(honest, tampered, contradicting), *_unexpected_attestations(judged)]


def _unexpected_attestations(judged: Mapping[str, Judged]) -> list[str]:
    verified = dict.fromkeys((role.value for role in Role), AttestationState.VERIFIED.value)
    absent = AttestationState.ABSENT.value
    wanted = {
        HONEST: verified,
        TAMPERED: {**verified, Role.INITRD.value: absent},
        CONTRADICTING: {**verified, Role.KERNEL.value: absent},
        IMPOSTOR: dict.fromkeys(verified, AttestationState.WRONG_IDENTITY.value),
    }
    found = {tag: attestation_states(standing) for tag, (_, standing) in judged.items()}
    return [f"{tag}: attestations {found[tag]}, not {wanted[tag]}" for tag in wanted if found[tag] != wanted[tag]]


def _unexpected_decisions(honest: ReleaseView, tampered: ReleaseView) -> list[str]:
    problems = []
    if honest.verdict.outcome is not RebuildOutcome.REPRODUCED or honest.verdict.decision is not Decision.ALLOW:
        problems.append(f"{HONEST} came out {honest.verdict.outcome} and {honest.verdict.decision}")
    for view, reproduced, contradicted in ((honest, len(NAMES), 0), (tampered, 0, len(NAMES))):
        tally = view.verdict.tally
        if (tally.reproduced, tally.contradicting) != (reproduced, contradicted):
            problems.append(f"{view.release.tag}: {tally.words}")
    if tampered.verdict.decision is not Decision.DENY:
        problems.append(f"{TAMPERED} is not denied")
    return problems


def _unexpected_rebuilds(honest: ReleaseView, tampered: ReleaseView, contradicting: ReleaseView) -> list[str]:
    problems = _unexpected_decisions(honest, tampered)
    if len(honest.components) != len(Role) or len(tampered.components) != len(Role):
        problems.append(f"not all of {', '.join(Role)} were compared")
    problems.extend(
        f"{HONEST}: measurement {row.evidence.state}, covering {sorted(row.evidence.coverage)}"
        for row in honest.measurements
        if row.evidence.state is not MeasurementState.MATCHES or row.evidence.coverage != set(COVERABLE)
    )
    differing = {
        row.role
        for row in tampered.components
        if row.comparison is None or row.comparison.outcome is not RebuildOutcome.REPRODUCED
    }
    if differing != {Role.INITRD}:
        problems.append(f"{TAMPERED} differs in {sorted(differing)}, not in the initrd alone")
    if [row.evidence.state for row in tampered.measurements] != [MeasurementState.DIFFERS]:
        problems.append(f"{TAMPERED}: the measurement does not differ")
    if not honest.measurements:
        problems.append(f"{HONEST} has no measurement")
    if honest.contradicts or tampered.contradicts:
        problems.append("a release that agrees with its manifest is shown as contradicting it")
    if not contradicting.contradicts or contradicting.results:
        problems.append(f"{CONTRADICTING} is not shown as contradicting its manifest before any rebuild")
    return problems


def write_report(path: Path, content: dict[str, object]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
