"""What the page of one rebuild shows, in a constant number of queries."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Prefetch
from django.utils import timezone

from builds.domain.comparison import ComponentComparison, RebuildOutcome, overall_outcome
from builds.domain.expectation import Plan
from builds.domain.lifecycle import RunState, StageState
from builds.domain.log_errors import LoudLine
from builds.domain.log_page import ShownLine, shown_lines
from builds.domain.origins import OriginKind
from builds.domain.printable import in_brief
from builds.domain.run_sentence import run_sentence
from builds.models import Rebuild, RebuildStage, RebuiltComponent, RebuiltFile
from builds.services import build_logs
from builds.services.absent import the_rebuild
from builds.services.build_logs import LogParts
from builds.services.consensus import copied_components, why_not_counted
from builds.services.disagreement import Disagreement, disagreement_of
from builds.services.earlier_runs import earlier_runs, plan_for
from builds.services.evidence import comparisons_of
from builds.services.material_pages import Materials, materials_of

SHOWN_FILES = 100
_TAIL_LINES = 200


@dataclass(frozen=True, slots=True)
class MadeComponent:
    """A component as published and as rebuilt; ``made`` is None for one that the rebuild did not make."""

    comparison: ComponentComparison
    made: RebuiltComponent | None

    @property
    def origin(self) -> str:
        return self.made.origin if self.made is not None else ""

    @property
    def is_copied(self) -> bool:
        """Whether its bytes are an input's, which no build step made."""
        return self.made is not None and self.made.origin_kind != OriginKind.BUILT

    @property
    def is_opaque(self) -> bool:
        return self.made is not None and self.made.origin_kind == OriginKind.OPAQUE


@dataclass(frozen=True, slots=True)
class LogExcerpt:
    """The part of the log that the page shows: its end, or what stands around the first error of a failed stage."""

    parts: LogParts
    lines: tuple[ShownLine, ...]
    error: LoudLine | None

    @property
    def first(self) -> int:
        return self.lines[0].number if self.lines else 0


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands: what a page that is open asks for again and again. ``token`` changes when any of it does."""

    rebuild: Rebuild
    plan: Plan
    outcome: RebuildOutcome | None
    why_not: str | None
    """Why its result is no evidence; "" when it is, None when there is none."""
    sentence: str
    tone: str
    token: str


@dataclass(frozen=True, slots=True)
class RebuildPage:
    """Everything but how it stands is read once."""

    status: RunStatus
    components: tuple[MadeComponent, ...]
    disagreement: Disagreement | None
    files: tuple[RebuiltFile, ...]
    more_files: bool
    materials: Materials
    log: LogExcerpt

    @property
    def rebuild(self) -> Rebuild:
        return self.status.rebuild

    @property
    def why_not(self) -> str | None:
        return self.status.why_not

    @property
    def opaque(self) -> list[RebuiltComponent | RebuiltFile]:
        """What it took as is from inputs that nobody vouches for."""
        components = [row.made for row in self.components if row.made is not None and row.is_opaque]
        return [*components, *(file for file in self.files if file.origin_kind == OriginKind.OPAQUE)]


def rebuild_page(rebuild_id: uuid.UUID) -> RebuildPage:
    """404 when there is no such rebuild."""
    rebuild = _rebuild(rebuild_id)
    comparisons = comparisons_of(rebuild)
    made = {row.role: row for row in rebuild.components.all()}
    files: list[RebuiltFile] = rebuild.first_files  # type: ignore[attr-defined] # the prefetch
    return RebuildPage(
        status=_status(rebuild, comparisons),
        components=tuple(MadeComponent(row, made.get(row.role)) for row in comparisons),
        disagreement=disagreement_of(rebuild, comparisons),
        files=tuple(files[:SHOWN_FILES]),
        more_files=len(files) > SHOWN_FILES,
        materials=materials_of(rebuild.release),
        log=_excerpt(rebuild),
    )


def run_status(rebuild_id: uuid.UUID, seen: str = "") -> RunStatus | None:
    """How it stands; None when a reader who has ``seen`` a token has seen all of that. Two queries then."""
    known = the_rebuild(Rebuild.objects.only("state", "cancel_requested_at").prefetch_related("stages"), rebuild_id)
    if seen and _token(known) == seen:
        return None
    rebuild = _rebuild(rebuild_id)
    return _status(rebuild, comparisons_of(rebuild))


def _rebuild(rebuild_id: uuid.UUID) -> Rebuild:
    """With its release, components, stages and the first of its files."""
    files = RebuiltFile.objects.order_by("role", "path")
    rows = (
        Rebuild.objects.select_related("release__project", "rebuilder__operator", "wanted_from__operator")
        .select_related("statement__key", "set_aside")
        .defer("statement__content", "statement__key__enrolment", "release__manifest", "release__portal_recipe")
        .prefetch_related("release__project__affiliations", "release__components", "components", "stages")
        .prefetch_related(Prefetch("files", files[: SHOWN_FILES + 1], to_attr="first_files"))
    )
    return the_rebuild(rows, rebuild_id)


def _status(rebuild: Rebuild, comparisons: Sequence[ComponentComparison]) -> RunStatus:
    is_live = rebuild.run_state.is_live
    project = rebuild.release.project_id
    outcome, why_not = overall_outcome(comparisons), why_not_counted(rebuild)
    sentence = run_sentence(
        rebuild.run_state, comparisons, copied=copied_components(rebuild), stopped_at=_stopped_at(rebuild)
    )
    return RunStatus(
        rebuild=rebuild,
        plan=plan_for(rebuild, earlier_runs([project]) if is_live else {}, timezone.now()),
        outcome=outcome,
        why_not=why_not,
        sentence=f"No evidence: {in_brief(why_not)} As its signer says: {sentence}" if why_not else sentence,
        tone="open" if why_not else _tone(rebuild.run_state, outcome),
        token=_token(rebuild),
    )


def _stopped_at(rebuild: Rebuild) -> str:
    if rebuild.run_state not in {RunState.FAILED, RunState.CANCELLED, RunState.LOST}:
        return ""
    last = _last_stage(rebuild)
    return last.name if last is not None and last.state != StageState.SUCCEEDED else ""


def _last_stage(rebuild: Rebuild) -> RebuildStage | None:
    stages = list(rebuild.stages.all())
    return stages[-1] if stages else None


def _token(rebuild: Rebuild) -> str:
    stages = [(stage.position, stage.name, stage.state) for stage in rebuild.stages.all()]
    said = repr((rebuild.state, rebuild.cancel_requested_at is not None, stages))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _tone(state: RunState, outcome: RebuildOutcome | None) -> str:
    if outcome is RebuildOutcome.REPRODUCED:
        return "good"
    if outcome is not None or state in {RunState.FAILED, RunState.LOST}:
        return "bad"
    return "open"


def _excerpt(rebuild: Rebuild) -> LogExcerpt:
    parts = build_logs.parts_of(rebuild.pk, rebuild.stages.all())
    if parts.failed is not None:
        error, around = build_logs.error_in(rebuild.pk, parts.failed)
        return LogExcerpt(parts, shown_lines(around), error)
    last = parts.total
    lines = build_logs.lines_between(rebuild.pk, max(last - _TAIL_LINES + 1, 1), last) if last else ()
    return LogExcerpt(parts, shown_lines(lines), None)
