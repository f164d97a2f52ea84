"""The verdict table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attestations.services.standing import ReleaseStanding
from builds.domain.evidence import COVERABLE
from builds.services.evidence import ReleaseView


def verdict_table(judged: Iterable[tuple[ReleaseView, ReleaseStanding]]) -> Iterator[str]:
    """Lines: per release its outcome, each component and measurement, and the verdict's sentence."""
    for view, standing in judged:
        attested = standing.by_role
        outcome = view.verdict.outcome.value if view.verdict.outcome is not None else "not rebuilt"
        contradicts = ", contradicts its own manifest" if view.contradicts else ""
        yield ""
        yield f"{view.release.tag}  commit {view.release.commit}  {outcome}{contradicts}"
        yield f"  operators: {view.verdict.tally.words}; {view.verdict.decision.value}"
        for row in view.components:
            comparison = row.comparison
            published = row.published.published
            yield f"  {row.role:<8} {row.outcome_words:<16} {attested[row.role].state:<15} published {published}"
            if comparison is not None and comparison.rebuilt is not None and comparison.rebuilt != published:
                yield f"  {'':<8} {'':<16} {'':<15} rebuilt   {comparison.rebuilt}"
            if row.published.contradicts_manifest:
                yield f"  {'':<8} {'':<16} {'':<15} the file is {row.found}"
        for measured in view.measurements:
            evidence = measured.evidence
            yield f"  launch measurement ({evidence.boot_mode}) {evidence.state}"
            yield f"    published  {evidence.published or 'nothing'}"
            yield f"    recomputed {evidence.recomputed or 'could not be'}"
            yield f"    rebuilt    {evidence.rebuilt or 'not yet'}"
            covered = [part for part in COVERABLE if part in evidence.coverage]
            yield f"    covers     {', '.join(covered)}"
        yield f"  {view.verdict.sentence}"
