"""How far a rebuild is, and when it may end: expected is what earlier runs of the same project took, by the median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from builds.domain.lifecycle import StageState

NOT_BEGUN = "to come"
type EarlierRun = Mapping[str, float]
"""What each stage of a run that succeeded took, in seconds, by name and in order."""


@dataclass(frozen=True, slots=True)
class BegunStage:
    """A stage as it was reported; ``ended_at`` is None while it runs."""

    name: str
    state: StageState
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class StageBar:
    """One stage of the bar. Seconds; ``expected`` is None when no earlier run had such a stage."""

    name: str
    state: StageState | None
    """None while it is to come."""
    started_at: datetime | None
    elapsed: float | None
    expected: float | None

    @property
    def word(self) -> str:
        return NOT_BEGUN if self.state is None else self.state.value

    @property
    def is_running(self) -> bool:
        return self.state is StageState.RUNNING

    @property
    def is_slow(self) -> bool:
        """Running for longer than twice what was expected, and than a minute: short stages vary a lot."""
        late = self.elapsed is not None and self.expected is not None and self.elapsed > 2 * self.expected
        return self.is_running and late and (self.elapsed or 0) > 60  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole bar. ``runs`` is how many earlier runs it is compared with; 0 means: nothing to compare with."""

    stages: tuple[StageBar, ...]
    began_at: datetime | None
    elapsed: float | None
    expected: float | None
    runs: int

    @property
    def ends_at(self) -> datetime | None:
        """When it may end; None when nothing says so."""
        if self.began_at is None or self.expected is None:
            return None
        return self.began_at + timedelta(seconds=self.expected)

    @property
    def is_over(self) -> bool:
        """Whether it takes longer than expected."""
        return self.elapsed is not None and self.expected is not None and self.elapsed > self.expected


def plan_of(
    begun: Sequence[BegunStage],
    earlier: Sequence[EarlierRun],
    *,
    began_at: datetime | None,
    now: datetime,
    is_live: bool,
) -> Plan:
    """Stages that were reported, then those that earlier runs had after them while the run ``is_live``.

    ``earlier`` are runs that succeeded, the newest first: its stages are the ones that are to come. ``now`` is the end
    of a run that has ended.
    """
    stages = [
        StageBar(
            name=stage.name,
            state=stage.state,
            started_at=stage.started_at,
            elapsed=_seconds(stage.started_at, stage.ended_at or now),
            expected=_expected(stage.name, earlier),
        )
        for stage in begun
    ]
    if is_live:
        stages += [StageBar(name, None, None, None, _expected(name, earlier)) for name in _to_come(begun, earlier)]
    return Plan(
        stages=tuple(stages),
        began_at=began_at,
        elapsed=_seconds(began_at, now) if began_at is not None else None,
        expected=median(sum(run.values()) for run in earlier) if earlier else None,
        runs=len(earlier),
    )


def _to_come(begun: Sequence[BegunStage], earlier: Sequence[EarlierRun]) -> list[str]:
    names = list(earlier[0]) if earlier else []
    known = {stage.name for stage in begun}
    last = max((position for position, name in enumerate(names) if name in known), default=-1)
    return [name for name in names[last + 1 :] if name not in known]


def _expected(name: str, earlier: Sequence[EarlierRun]) -> float | None:
    took = [run[name] for run in earlier if name in run]
    return median(took) if took else None


def _seconds(start: datetime, end: datetime) -> float:
    """Never negative: the clocks of two machines may differ."""
    return max((end - start).total_seconds(), 0.0)
