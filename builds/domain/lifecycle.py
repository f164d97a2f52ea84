"""The life of a rebuild run: its states and the only moves between them."""

from __future__ import annotations

from enum import StrEnum

from builds.domain.errors import PortalError


class RunState(StrEnum):
    """States of a rebuild run. Only ``succeeded`` has an outcome."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]

    @property
    def is_live(self) -> bool:
        """Queued or running: it holds the one place of its release and rebuilder."""
        return not self.is_final


TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.LOST}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
    RunState.LOST: frozenset(),
}

LIVE_STATES = tuple(state for state in RunState if state.is_live)


class ForbiddenTransition(PortalError):
    """A move that the life of a rebuild does not know."""

    code = "forbidden-transition"
    default_todo = "Look at the rebuild again: its state has changed in the meantime."


def check_transition(current: RunState, target: RunState) -> None:
    """Return for an allowed move, raise ``ForbiddenTransition`` for any other."""
    if target not in TRANSITIONS[current]:
        raise ForbiddenTransition(f"a {current} rebuild cannot become {target}", where="rebuild state")


class StageState(StrEnum):
    """How a stage of a rebuild stands; a stage without an end is running."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
