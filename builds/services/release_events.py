"""What happened to a release after it was imported: which of it still counts against it, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

from django.utils import timezone

from builds.domain.errors import PortalError
from builds.models import Release, ReleaseEvent

CONTRADICTION = "contradiction"
CHANGED_SINCE_IMPORT = "changed-since-import"
MATERIALS_STORED = "materials-stored"
MATERIALS_FAILED = "materials-failed"
REUSED_FROM = "reused-from"
MEASUREMENT_UNPLACED = "measurement-unplaced"
CHANGES_EXPLAINED = "changes-explained"
ANNOUNCED = "announced"
"""Somebody told the portal of it, by an account's token; no evidence either way."""


class NothingToExplain(PortalError):
    """No change of the release is open."""

    code: ClassVar[str] = "nothing-to-explain"
    default_todo: ClassVar[str] = "Look at the release's page for what speaks against it."


class ReasonMissing(PortalError):
    """A change is set aside without a reason, or without a name."""

    code: ClassVar[str] = "reason-missing"
    default_todo: ClassVar[str] = "Say why, and who says so: both are shown on the release's page for good."


@dataclass(frozen=True, slots=True)
class Notice:
    """Something wrong with a release: its kind, when it was found, the sentence, and what to do ("" if nothing)."""

    kind: str
    at: datetime
    sentence: str
    todo: str

    @property
    def tone(self) -> str:
        """How it looks: an explanation is no accusation, and no good mark either."""
        return "open" if self.kind == CHANGES_EXPLAINED else "bad"

    @classmethod
    def of(cls, event: ReleaseEvent) -> Self:
        """A contradiction carries its sentence; a named error its what, where and todo."""
        detail = event.detail
        sentence = detail.get("sentence") or f"{detail['what']} ({detail['where']})."
        return cls(event.kind, event.at, sentence, detail.get("todo", ""))


@dataclass(frozen=True, slots=True)
class Announced:
    """Who told the portal of a release: the account's name, its token's, and when (RFC 3339, UTC)."""

    account: str
    token: str
    announced_at: datetime


def announcements(events: Iterable[ReleaseEvent]) -> list[Announced]:
    """In the order of ``events``; none for a release that was imported in another way only."""
    return [
        Announced(event.detail["account"], event.detail["token"], datetime.fromisoformat(event.detail["announced_at"]))
        for event in events
        if event.kind == ANNOUNCED
    ]


def evidence_changed(*releases: Release) -> None:
    """Say that these releases' verdicts must be derived anew for the record."""
    Release.objects.filter(pk__in=[release.pk for release in releases]).update(evidence_changed_at=timezone.now())


def open_changes(events: Iterable[ReleaseEvent]) -> list[ReleaseEvent]:
    """Changes since the import that nobody has explained since, oldest first; ``events`` come in their order."""
    found: list[ReleaseEvent] = []
    for event in events:
        if event.kind == CHANGES_EXPLAINED:
            found.clear()
        elif event.kind == CHANGED_SINCE_IMPORT:
            found.append(event)
    return found


def notices_of(events: Sequence[ReleaseEvent], *, placed: bool) -> list[Notice]:
    """Contradictions, changes with their explanations, and problems that no later success has ended.

    ``placed`` says that the published measurement has found its launch configuration.
    """
    stored = [event for event in events if event.kind == MATERIALS_STORED]
    return [
        Notice.of(event)
        for event in events
        if event.kind in {CONTRADICTION, CHANGED_SINCE_IMPORT, CHANGES_EXPLAINED}
        or (event.kind == MEASUREMENT_UNPLACED and not placed)
        or (event.kind == MATERIALS_FAILED and not any(good.at > event.at for good in stored))
    ]


def explain_changes(release: Release, reason: str, by: str) -> list[str]:
    """Let what was first seen be judged again though it changed since; the reason stays on the page for good.

    Returns the changes that are explained. Another change denies anew. Raises ``ReasonMissing`` and
    ``NothingToExplain``.
    """
    if not reason.strip() or not by.strip():
        raise ReasonMissing("a change is explained by a reason and a name", where=str(release))
    changes = [str(event.detail["what"]) for event in open_changes(release.events.all())]
    if not changes:
        raise NothingToExplain("no change of this release is open", where=str(release))
    sentence = f"{by.strip()} explained the changes before this: {reason.strip()}"
    ReleaseEvent(release=release, kind=CHANGES_EXPLAINED, detail={"sentence": sentence, "changes": changes}).save()
    evidence_changed(release)
    return changes
