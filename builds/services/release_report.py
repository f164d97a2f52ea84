"""What the page of a release shows beyond its evidence: unmet conditions in words, the chain, the matrix, materials."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from builds.domain.chain import Publication, chain_of
from builds.domain.chain_drawing import Drawing
from builds.domain.comparison import RebuildOutcome
from builds.domain.condition_words import ConditionWords, words_of
from builds.domain.conditions import Condition, ConditionState
from builds.domain.coverage import MatrixRow, matrix_of
from builds.domain.evidence import OpaqueInput
from builds.domain.origins import OriginKind
from builds.domain.roles import Role
from builds.models import AcceptedOpaqueInput
from builds.services.evidence import ReleaseView
from builds.services.material_pages import Materials, materials_of

SHOWN_OPAQUE = 50
_EVIDENCE = {
    "files-match-manifest": "components",
    "attested-by-expected-publisher": "attestations",
    "reproduced-by-enough-operators": "operators",
    "measurements-recompute": "coverage",
    "measurement-covers-what-boots": "coverage",
    "opaque-inputs-accepted": "opaque",
}


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """A condition with its words, and the id of the heading under which its evidence is."""

    condition: Condition
    words: ConditionWords
    evidence: str


@dataclass(frozen=True, slots=True)
class OpaqueRow:
    """An opaque input, and the policy's entry that accepts it; None while the policy does not."""

    found: OpaqueInput
    accepted: AcceptedOpaqueInput | None


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """All of it, made from a view without further queries but for the materials."""

    unmet: tuple[ConditionRow, ...]
    met: tuple[ConditionRow, ...]
    drawings: tuple[Drawing, Drawing]
    """The chain from left to right, and from top to bottom for narrow screens."""
    matrix: tuple[MatrixRow, ...]
    opaque: tuple[OpaqueRow, ...]
    more_opaque: int
    """How many opaque inputs are not among ``opaque``."""
    materials: Materials


def report_of(view: ReleaseView, *, is_watched: bool) -> ReleaseReport:
    """The report of a release; one query, for its materials."""
    release, rows = view.release, [_condition_row(entry) for entry in view.verdict.conditions]
    publication = Publication(tag=release.tag, source_was_read=release.commit_time is not None, is_watched=is_watched)
    chain = chain_of(publication, view.evidence, view.verdict.conditions)
    return ReleaseReport(
        unmet=tuple(row for row in rows if row.condition.state is not ConditionState.MET),
        met=tuple(row for row in rows if row.condition.state is ConditionState.MET),
        drawings=(Drawing.wide(chain), Drawing.tall(chain)),
        matrix=matrix_of(view.evidence, _origins(view)),
        opaque=tuple(_opaque_rows(view)),
        more_opaque=max(len(view.opaque) - SHOWN_OPAQUE, 0),
        materials=materials_of(release),
    )


def _condition_row(condition: Condition) -> ConditionRow:
    return ConditionRow(condition, words_of(condition.key), _EVIDENCE.get(condition.key, "verdict"))


def _origins(view: ReleaseView) -> dict[Role, set[OriginKind]]:
    """What operators who reproduced a component say of where its bytes come from."""
    found = defaultdict(set)
    for result in view.results:
        if not result.counts:
            continue
        reproduced = {row.role for row in result.evidence.comparisons if row.outcome is RebuildOutcome.REPRODUCED}
        for component in result.rebuild.components.all():
            if component.role in reproduced:
                found[Role(component.role)].add(OriginKind(component.origin_kind))
    return found


def _opaque_rows(view: ReleaseView) -> list[OpaqueRow]:
    """Those that the policy does not accept first."""
    accepted = {entry.sha256: entry for entry in view.release.project.accepted_opaque_inputs.all()}
    rows = [OpaqueRow(entry, accepted.get(entry.digest.hex)) for entry in view.opaque]
    return sorted(rows, key=lambda row: row.accepted is not None)[:SHOWN_OPAQUE]
