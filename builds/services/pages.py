"""View-models of the pages, each loaded in a constant number of queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Length

from builds.domain.comparison import RebuildOutcome, overall_outcome
from builds.domain.evidence import PublisherEvidence
from builds.domain.lifecycle import RunState
from builds.models import Rebuild, Release
from builds.services.absent import the_rebuild
from builds.services.consensus import why_not_counted
from builds.services.differences import first_differences
from builds.services.evidence import ReleaseView, comparisons_of, view_of

_OUTCOME_SENTENCES = {
    RebuildOutcome.REPRODUCED: "Every published component was rebuilt with the same bytes.",
    RebuildOutcome.MISMATCHED: "At least one component was rebuilt with other bytes than were published.",
    RebuildOutcome.MISSING: "The rebuild did not make every published component.",
    None: "The release names no component to compare with.",
}
_RUN_SENTENCES = {
    RunState.QUEUED: "Waiting for a worker. No evidence yet.",
    RunState.RUNNING: "Running. No evidence yet.",
    RunState.FAILED: "No evidence either way: the rebuild failed. This is not a mismatch.",
    RunState.CANCELLED: "No evidence either way: the rebuild was cancelled.",
    RunState.LOST: "No evidence either way: the worker was lost.",
}

PAGE_SIZE = 25
SHOWN_LOG_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class ReleasePage:
    """One page of releases, newest first; ``older`` is the cursor of the next page or None."""

    views: tuple[ReleaseView, ...]
    older: int | None


type PublishersOf = Callable[[Sequence[Release]], Mapping[int, PublisherEvidence]]
"""Tells what is known of publications by primary key; given from above: builds does not know who checks them."""


def release_page(*, publishers_of: PublishersOf, before: int | None = None, size: int = PAGE_SIZE) -> ReleasePage:
    """Releases imported before the one numbered ``before``, by descending number."""
    found = Release.objects.with_evidence().order_by("-pk")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found[: size + 1])
    older = rows[size - 1].pk if len(rows) > size else None
    publishers, parted = publishers_of(rows[:size]), first_differences(rows[:size])
    return ReleasePage(tuple(view_of(row, publishers[row.pk], parted.get(row.pk, "")) for row in rows[:size]), older)


def rebuild_with_evidence(rebuild_id: uuid.UUID) -> Rebuild:
    """A rebuild with its release, components, files and stages; 404 when there is none."""
    rows = (
        Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
        .select_related("statement__key", "set_aside")
        .prefetch_related(
            "release__project__affiliations", "release__components", "components", "files", "stages", "measurements"
        )
    )
    return the_rebuild(rows, rebuild_id)


def rebuild_context(rebuild_id: uuid.UUID) -> dict[str, Any]:
    """What the rebuild page shows."""
    rebuild = rebuild_with_evidence(rebuild_id)
    comparisons = comparisons_of(rebuild)
    origins = {component.role: component.origin for component in rebuild.components.all()}
    outcome = overall_outcome(comparisons)
    log, cut = log_tail(rebuild)
    return {
        "rebuild": rebuild,
        "stages": rebuild.stages.all(),
        "comparisons": [(row, origins.get(row.role, "")) for row in comparisons],
        "files": rebuild.files.all(),
        "outcome": outcome,
        "why_not": why_not_counted(rebuild),
        "panel": _panel(rebuild.run_state, outcome),
        "sentence": rebuild_sentence(rebuild.run_state, outcome),
        "log": log,
        "log_cut": SHOWN_LOG_CHARACTERS if cut else None,
    }


def log_tail(rebuild: Rebuild) -> tuple[str, bool]:
    """The last ``SHOWN_LOG_CHARACTERS`` of the log, and whether something stands before them."""
    lengths = list(rebuild.log_chunks.annotate(length=Length("text")).values_list("sequence", "length"))
    held = first = 0
    for sequence, length in reversed(lengths):
        held += length
        first = sequence
        if held >= SHOWN_LOG_CHARACTERS:
            break
    text = "".join(rebuild.log_chunks.filter(sequence__gte=first).values_list("text", flat=True))
    return text[-SHOWN_LOG_CHARACTERS:], sum(length for _, length in lengths) > SHOWN_LOG_CHARACTERS


def rebuild_sentence(state: RunState, outcome: RebuildOutcome | None) -> str:
    """One sentence that says what this rebuild shows, or that it shows nothing."""
    if state is RunState.SUCCEEDED:
        return _OUTCOME_SENTENCES[outcome]
    return _RUN_SENTENCES[state]


def _panel(state: RunState, outcome: RebuildOutcome | None) -> str:
    if outcome is RebuildOutcome.REPRODUCED:
        return "good"
    if outcome is not None or state in {RunState.FAILED, RunState.LOST}:
        return "bad"
    return "open"
