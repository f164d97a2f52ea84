"""What one rebuild shows, in plain words: its outcome, or that it shows nothing either way."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from builds.domain.comparison import ComponentComparison, RebuildOutcome
from builds.domain.lifecycle import RunState
from builds.domain.roles import Role

_RUN_SENTENCES = {
    RunState.QUEUED: "Waiting for a rebuilder. No evidence yet.",
    RunState.RUNNING: "Running. No evidence yet.",
    RunState.FAILED: "No evidence either way: the rebuild failed. This is not a mismatch.",
    RunState.CANCELLED: "No evidence either way: the rebuild was cancelled.",
    RunState.LOST: "No evidence either way: the worker was lost.",
}


def run_sentence(
    state: RunState, rows: Sequence[ComponentComparison], *, copied: Collection[Role] = (), stopped_at: str = ""
) -> str:
    """``rows`` are of a run that succeeded, ``copied`` those whose bytes it only took over from an input.

    ``stopped_at`` is the stage in which one that did not succeed stopped.
    """
    if state is RunState.SUCCEEDED:
        return _outcome_sentence(rows, [row.role for row in rows if row.role in copied])
    return f"{_RUN_SENTENCES[state]} It stopped at {stopped_at}." if stopped_at else _RUN_SENTENCES[state]


def _outcome_sentence(rows: Sequence[ComponentComparison], copied: Sequence[Role]) -> str:
    if not rows:
        return "The release names no component to compare with."
    by_outcome = {
        outcome: [row.role for row in rows if row.outcome is outcome]
        for outcome in (RebuildOutcome.MISMATCHED, RebuildOutcome.MISSING, RebuildOutcome.REPRODUCED)
    }
    other, missing, same = by_outcome.values()
    if not other and not missing:
        if copied:
            return (
                f"Every published component came out with the same bytes; {listed(copied)} {_was(copied)} only copied."
            )
        return "Every published component was rebuilt with the same bytes."
    parts = []
    if other:
        parts.append(f"{listed(other)} {_was(other)} rebuilt with other bytes than were published")
    if missing:
        parts.append(f"{listed(missing)} {_was(missing)} not made by the rebuild")
    if same:
        parts.append(f"{listed(same)} came out the same")
    return f"{'; '.join(parts)}."


def listed(roles: Sequence[Role]) -> str:
    """Roles as a sentence lists them: ``katana, kernel and ovmf``."""
    names = [role.value for role in roles]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _was(roles: Sequence[Role]) -> str:
    return "was" if len(roles) == 1 else "were"
