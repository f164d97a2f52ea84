"""Two rebuilds beside each other: the same bytes or not, and what tells the two machines and builds apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builds.domain.comparison import RebuildOutcome
from builds.domain.digest import FileDigests
from builds.domain.file_difference import DifferingFile
from builds.domain.lifecycle import RunState
from builds.domain.likeness import Likeness, Row, likeness, listed
from builds.domain.release_comparison import MaterialFacts, MaterialsChange, compare_materials
from builds.domain.roles import Role


@dataclass(frozen=True, slots=True)
class RebuildFacts:
    """What is compared of one rebuild."""

    name: str
    """Its id, as addresses have it."""
    operator: str
    """Empty while nobody has claimed it."""
    project: str
    tag: str
    commit: str
    run: RunState
    outcome: RebuildOutcome | None
    why_not: str
    """Why a succeeded rebuild is no evidence; empty when it is."""
    components: Mapping[Role, FileDigests]
    environment: Mapping[str, str | int]
    materials: tuple[MaterialFacts, ...] | None
    """As signed; None while nothing is."""
    stages: tuple[tuple[str, float | None], ...]
    """Each stage with the seconds it took; None while it has no end."""
    measurements: Mapping[str, str | None]
    """By launch configuration; None where none could be computed."""

    @property
    def who(self) -> str:
        return self.operator or "nobody yet"


@dataclass(frozen=True, slots=True)
class RebuiltPart:
    """A component as each of the two made it; None where one did not."""

    role: Role
    before: FileDigests | None
    after: FileDigests | None
    ended: bool
    """Whether both came to their end, so that a part that is not there was not made."""

    @property
    def likeness(self) -> Likeness:
        if not self.ended:
            return Likeness.UNKNOWN
        if self.before is None or self.after is None:
            return Likeness.ADDED if self.before is None else Likeness.REMOVED
        return likeness(self.before, self.after)

    @property
    def growth(self) -> int | None:
        return self.after.size - self.before.size if self.before is not None and self.after is not None else None


@dataclass(frozen=True, slots=True)
class FilesChange:
    """Files inside components: the first that differ in the order of paths, and how many there are of each kind."""

    shown: tuple[DifferingFile, ...]
    other_bytes: int
    only_before: int
    only_after: int

    @property
    def different(self) -> int:
        return self.other_bytes + self.only_before + self.only_after

    @property
    def more(self) -> bool:
        """Whether there are others than ``shown``."""
        return self.different > len(self.shown)

    @property
    def first(self) -> DifferingFile | None:
        return self.shown[0] if self.shown else None


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long a stage took in each, in seconds; None where it did not run or has no end."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class RebuildComparison:
    """Everything side by side; ``warnings`` come first, ``sentence`` says the rest in words."""

    before: RebuildFacts
    after: RebuildFacts
    components: tuple[RebuiltPart, ...]
    files: FilesChange
    materials: MaterialsChange
    environment: tuple[Row, ...]
    measurements: tuple[Row, ...]
    stages: tuple[StageTimes, ...]

    @property
    def both_ended(self) -> bool:
        return self.before.run is self.after.run is RunState.SUCCEEDED

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(_warnings(self.before, self.after))

    @property
    def sentence(self) -> str:
        return compose(self)


def compare_rebuilds(before: RebuildFacts, after: RebuildFacts, files: FilesChange) -> RebuildComparison:
    """Hold two rebuilds against each other; ``files`` were compared where they are stored."""
    ended = before.run is after.run is RunState.SUCCEEDED
    roles = [role for role in Role if role in before.components or role in after.components]
    return RebuildComparison(
        before=before,
        after=after,
        components=tuple(
            RebuiltPart(role, before.components.get(role), after.components.get(role), ended) for role in roles
        ),
        files=files,
        materials=compare_materials(before.materials, after.materials),
        environment=tuple(
            Row(name, _text(before.environment.get(name)), _text(after.environment.get(name)))
            for name in sorted({*before.environment, *after.environment})
        ),
        measurements=tuple(
            Row(name, before.measurements.get(name), after.measurements.get(name))
            for name in sorted({*before.measurements, *after.measurements})
        ),
        stages=_stages(before, after),
    )


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)


def _stages(before: RebuildFacts, after: RebuildFacts) -> tuple[StageTimes, ...]:
    one, other = dict(before.stages), dict(after.stages)
    return tuple(StageTimes(name, one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other]))


def _warnings(before: RebuildFacts, after: RebuildFacts) -> list[str]:
    found = []
    if before.name == after.name:
        found.append("This is one rebuild beside itself.")
    if before.project != after.project:
        found.append(
            f"They are of different projects, {before.project} and {after.project}: nothing about reproducing follows."
        )
    elif before.tag != after.tag:
        found.append(
            f"They are of different releases, {before.tag} and {after.tag}: that bytes differ is expected, and no sign"
            " against either."
        )
    if before.commit != after.commit:
        found.append("They are of different source commits, so that their bytes need not be the same.")
    for side in (before, after):
        if side.run is not RunState.SUCCEEDED:
            found.append(f"The rebuild of {side.who} is {side.run.value}: it has no outcome and is no evidence.")
        elif side.why_not:
            found.append(f"The rebuild of {side.who} does not count. {side.why_not}")
    if before.name != after.name and before.operator and before.operator == after.operator:
        found.append("Both are by one operator, who counts once: their agreement adds nothing.")
    return found


def compose(comparison: RebuildComparison) -> str:
    """What two rebuilds say about each other, in plain sentences."""
    before, after = comparison.before, comparison.after
    if before.name == after.name:
        return "A rebuild is the same as itself."
    if not comparison.both_ended:
        return "Not both came to their end, so that nothing is said about their bytes."
    parts = [_bytes_sentence(comparison), _published_sentence(before, after), _first_sentence(comparison.files)]
    if any(part.likeness is not Likeness.SAME for part in comparison.components):
        parts.append(_apart_sentence(comparison))
    return " ".join(filter(None, parts))


def _bytes_sentence(comparison: RebuildComparison) -> str:
    if not comparison.components:
        return "Neither made a component."
    unlike = [part.role.value for part in comparison.components if part.likeness is not Likeness.SAME]
    if not unlike:
        return f"Both made the same bytes of every component ({listed([p.role.value for p in comparison.components])})."
    alike = [part.role.value for part in comparison.components if part.likeness is Likeness.SAME]
    same = f" They made the same bytes of {listed(alike)}." if alike else ""
    return f"They did not make the same bytes of {listed(unlike)}.{same}"


def _published_sentence(before: RebuildFacts, after: RebuildFacts) -> str:
    """Which of the two has the published bytes, where they are of one release."""
    if (before.project, before.tag) != (after.project, after.tag) or None in {before.outcome, after.outcome}:
        return ""
    agreeing = [side.who for side in (before, after) if side.outcome is RebuildOutcome.REPRODUCED]
    if len(agreeing) == 1:
        return f"{agreeing[0]} has the published bytes."
    return "Both have the published bytes." if agreeing else "Neither has the published bytes of every component."


def _first_sentence(files: FilesChange) -> str:
    first = files.first
    if first is None:
        return ""
    how = "is in one only" if not (first.before and first.after) else "has other bytes"
    count = "one file" if files.different == 1 else f"{files.different} files"
    return (
        f"Inside the {first.role} {count} differ{'s' if files.different == 1 else ''}; the first, {first.path}, {how}."
    )


def _apart_sentence(comparison: RebuildComparison) -> str:
    """What the builds differ in besides their outcome: where to look for the reason."""
    apart = [row.name for row in comparison.environment if row.likeness is Likeness.CHANGED]
    unknown = [row.name for row in comparison.environment if row.likeness is Likeness.UNKNOWN]
    words = [
        f"Their machines differ in {listed(apart)}." if apart else "Their machines differ in nothing that both name."
    ]
    if unknown:
        words.append(f"Only one names {listed(unknown)}.")
    if not comparison.materials.known:
        words.append("What materials went into one of them is not known.")
    elif comparison.materials.different:
        words.append(f"Their materials differ in {comparison.materials.different}.")
    else:
        words.append("Their materials are the same.")
    return " ".join(words)
