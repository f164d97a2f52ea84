"""The strip of a project's versions: one cell for each release, and where one is worse than what was before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from attestations.services.recorded import is_outdated, with_newest
from builds.domain.comparison import RebuildOutcome
from builds.domain.regression import NO_LONGER_REPRODUCED, worse_than
from builds.domain.release_filters import Axis, Standing
from builds.domain.verdict import Decision
from builds.models import Release

MOST_CELLS = 60
_JUDGED_ANEW = "being judged anew"


@dataclass(frozen=True, slots=True)
class Cell:
    """One release: its decision as recorded, and what is worse than before as a sentence ("" when nothing is)."""

    tag: str
    address: str
    word: str
    """``allow``, ``deny``, or that it is being judged anew: evidence changed after the record, or the record is old."""
    worse: str

    @property
    def tone(self) -> str:
        return {"allow": "good", "deny": "bad"}.get(self.word, "open")


@dataclass(frozen=True, slots=True)
class Strip:
    """The newest releases of a project by the time of their commits, the newest last."""

    project: str
    cells: tuple[Cell, ...]
    is_cut: bool
    """Whether there are older releases than it shows."""

    @property
    def regressions(self) -> list[Cell]:
        """Cells that are worse than before, the newest first."""
        return [cell for cell in self.cells[::-1] if cell.worse]


def strips_of(projects: Collection[int], most: int = MOST_CELLS) -> dict[int, Strip]:
    """The strip of each project by its primary key, in one query; a project without releases has none."""
    rank = Window(RowNumber(), partition_by=[F("project")], order_by=[F("source_date_epoch").desc(), F("pk").desc()])
    newest = Release.objects.filter(project__in=projects).order_by().annotate(rank=rank).filter(rank__lte=most + 1)
    rows = (
        with_newest(Release.objects.filter(pk__in=newest.values("pk")))
        .select_related("project")
        .only("project__name", "tag", "source_date_epoch", "judged_at", "evidence_changed_at")
        .in_order()
        .reverse()
    )
    found: dict[int, list[Release]] = {}
    for row in rows:
        found.setdefault(row.project_id, []).append(row)
    return {project: _strip(releases, most) for project, releases in found.items()}


def _strip(releases: list[Release], most: int) -> Strip:
    cells = []
    before: tuple[Standing, str] | None = None
    for release in releases:
        now = recorded_standing(release)
        cells.append(Cell(release.tag, release.get_absolute_url(), _word(now), _worse(release, before, now)))
        if now is not None:
            before = (now, release.tag)
    return Strip(releases[0].project.name, tuple(cells[-most:]), len(cells) > most)


def recorded_standing(release: Release) -> Standing | None:
    """What the newest record says, of a release loaded ``with_newest``; None when it cannot be relied on any more."""
    if is_outdated(release):
        return None
    said = {axis.value: getattr(release, f"recorded_{axis.value}") for axis in Axis}
    return None if said["decision"] is None else Standing(**said)


def _word(now: Standing | None) -> str:
    return Decision(now.decision).value if now is not None else _JUDGED_ANEW


def _worse(release: Release, before: tuple[Standing, str] | None, now: Standing | None) -> str:
    if now is None:
        return ""
    found = [worse_than(before[0], now, before[1])] if before is not None else []
    if release.once_reproduced and now.outcome != RebuildOutcome.REPRODUCED:  # type: ignore[attr-defined] # annotation
        found.append(NO_LONGER_REPRODUCED)
    return " ".join(filter(None, found))
